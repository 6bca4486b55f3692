//! `bowline forget`: removes a host, its addresses, and its undelivered requests.

use crate::{
    client::Client,
    failure::{Exit, Stop},
    find,
    lines::Line,
    text,
};

pub(super) async fn forget(client: &Client<'_>, asked: &str) -> Result<Exit, Stop> {
    let host = find::host(client.known(), Some(asked))?;
    client.runtime.forget(&host.server_id).await?;
    let line = Line::Forgotten {
        server_id: &host.server_id,
        name: &host.name,
    };
    let told = || {
        let (name, id) = (text::one_line(&host.name), &host.server_id);
        format!("forgot {name} ({id}) and its undelivered requests\n")
    };
    client.output.result(&line, told).await?;
    if !client.output.mode.json {
        let note = "the daemon still lists this device; remove it with `bowline-daemon devices revoke` on its machine";
        client.output.say(note).await?;
    }
    Ok(Exit::Done)
}
