//! `bowline pair`: makes this device known to a daemon, and the daemon to this device.

use std::time::Duration;

use bowline_runtime::protocol::Offer;

use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    input,
    lines::Line,
    text,
};

pub(super) async fn pair(client: &Client<'_>, offer: String) -> Result<Exit, Stop> {
    let offer: Offer = input::argument(offer).await?.parse().map_err(|error| {
        CliError::usage(
            "usage",
            format!("{error}; paste the whole link that `bowline-daemon pair` prints"),
        )
    })?;
    let bound = client.settings.timeout.unwrap_or(Duration::MAX);
    let host = match tokio::time::timeout(bound, client.runtime.pair(&offer)).await {
        Ok(paired) => paired.map_err(CliError::from)?,
        Err(_) => return Err(CliError::no_answer(&offer).into()),
    };
    if client.output.mode.json {
        client
            .output
            .json(&Line::Paired {
                host: (&host).into(),
            })
            .await?;
    } else {
        let addresses: Vec<_> = host
            .addresses
            .iter()
            .map(|address| text::one_line(&address.address))
            .collect();
        let line = format!(
            "paired with {} ({}) at {}\n",
            text::one_line(&host.name),
            host.server_id,
            addresses.join(", ")
        );
        client.output.out(line).await?;
    }
    Ok(Exit::Done)
}
