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
    let offer = input::argument(offer).await?;
    let offer: Offer = offer.trim().parse().map_err(|error| {
        let what = if offer.trim_start().starts_with("bowline://pair?") && !offer.contains('&') {
            "a shell cuts an unquoted link at its first `&`: put it in single quotes"
        } else {
            "paste the whole link that `bowline-daemon pair` prints, in single quotes"
        };
        CliError::usage("usage", format!("{error}; {what}"))
    })?;
    let known = client.known().iter();
    let known = known
        .filter(|known| known.server_id == offer.server_id)
        .count()
        > 0;
    let bound = client.settings.timeout.unwrap_or(Duration::MAX);
    let host = match tokio::time::timeout(bound, client.runtime.pair(&offer)).await {
        Ok(paired) => paired.map_err(|error| CliError::not_paired(&offer, error))?,
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
            "{} {} ({}) at {}\n",
            if known {
                "paired again with"
            } else {
                "paired with"
            },
            text::one_line(&host.name),
            host.server_id,
            addresses.join(", ")
        );
        client.output.out(line).await?;
    }
    Ok(Exit::Done)
}
