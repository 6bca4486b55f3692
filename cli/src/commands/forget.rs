//! `bowline forget`: drops a host, its addresses, and the requests that wait for it.

use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    find,
    lines::Line,
    text,
};

pub(super) async fn forget(client: &Client<'_>, asked: &str) -> Result<Exit, Stop> {
    let host = find::host(client.known(), Some(asked))?;
    client
        .runtime
        .forget(&host.server_id)
        .await
        .map_err(CliError::from)?;
    if client.output.mode.json {
        let line = Line::Forgotten {
            server_id: &host.server_id,
            name: &host.name,
        };
        client.output.json(&line).await?;
    } else {
        let line = format!(
            "forgot {} ({}) and every request that waited for it\n",
            text::one_line(&host.name),
            host.server_id
        );
        client.output.out(line).await?;
        let note = "the daemon still lists this device; `bowline-daemon devices revoke` on its machine ends that";
        client.output.say(note).await?;
    }
    Ok(Exit::Done)
}
