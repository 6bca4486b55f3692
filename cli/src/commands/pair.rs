//! `bowline pair`: pairs this device with a daemon, once its user has confirmed the offer (TR-14).

use std::{
    io::{self, IsTerminal},
    pin::pin,
    time::Duration,
};

use bowline_runtime::{
    OfferHost, OfferInfo, PairingSnapshot,
    machines::Path,
    protocol::{Offer, Reach},
};

use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    input,
    lines::Line,
    text,
};

/// Longest wait for the first session of a new pairing. It is begun later otherwise.
const FIRST_SESSION: Duration = Duration::from_secs(3);

pub(super) async fn pair(client: &Client<'_>, offer: String, yes: bool) -> Result<Exit, Stop> {
    let offer = input::argument(offer).await?;
    let offer: Offer = offer.trim().parse().map_err(|error| {
        let what = if offer.trim_start().starts_with("bowline://pair?") && !offer.contains('&') {
            "a shell cuts an unquoted link at its first `&`: put it in single quotes"
        } else {
            "paste the whole link that `bowline-daemon pair` prints, in single quotes"
        };
        CliError::usage("usage", format!("{error}; {what}"))
    })?;
    let info = client.runtime.inspect_offer(&offer);
    if !yes {
        confirm(client, &info).await?;
    }
    let bound = client.settings.timeout.unwrap_or(Duration::MAX);
    let mut pairing = pin!(tokio::time::timeout(bound, client.runtime.pair(&offer)));
    let mut showing = pin!(show_code(client, &offer));
    let paired = tokio::select! {
        paired = &mut pairing => paired,
        shown = &mut showing => {
            shown?;
            pairing.await
        }
    };
    let host = match paired {
        Ok(paired) => paired.map_err(|error| CliError::not_paired(&offer, error))?,
        Err(_) => return Err(CliError::no_answer(&offer).into()),
    };
    // The pairing is done; the session is begun while somebody looks, so that lists show it.
    let _ = tokio::time::timeout(FIRST_SESSION, client.online(&host)).await;
    let told = || {
        let again = match info.host {
            OfferHost::Unknown => "",
            OfferHost::Known { .. } | OfferHost::OtherKey { .. } => "again ",
        };
        let (name, id) = (text::one_line(&host.name), &host.server_id);
        format!(
            "paired {again}with {name} ({id}) at {}\n",
            text::addresses(&host)
        )
    };
    let host = (&host).into();
    client.output.result(&Line::Paired { host }, told).await?;
    Ok(Exit::Done)
}

/// Shows the offer and asks its user; nothing is contacted before. A script that runs the command
/// without a terminal has decided.
async fn confirm(client: &Client<'_>, offer: &OfferInfo) -> Result<(), Stop> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    client.output.say(described(offer)).await?;
    client.output.err("Pair with it? [y/N] ").await?;
    if input::is_confirmed().await? {
        return Ok(());
    }
    Err(CliError::failed("declined", "not paired; nothing was contacted").into())
}

/// The offer for people: its name, every address with its reach, and what is known of the daemon.
fn described(offer: &OfferInfo) -> String {
    let mut lines = vec![format!(
        "{} ({})",
        text::one_line(&offer.name),
        offer.server_id
    )];
    lines.extend(addresses(offer).into_iter().map(|line| format!("  {line}")));
    match &offer.host {
        OfferHost::Unknown => {}
        OfferHost::Known { name } => lines.push(format!(
            "It is known here as {}; these addresses replace the ones known here.",
            text::one_line(name)
        )),
        OfferHost::OtherKey { name } => lines.push(format!(
            "Careful: {} is known here with another key. Somebody else may have made this offer.",
            text::one_line(name)
        )),
    }
    lines.join("\n")
}

fn addresses(offer: &OfferInfo) -> Vec<String> {
    let addresses = offer.addresses.iter();
    let line = addresses.map(|offered| {
        let reach = match offered.reach {
            Reach::Loopback => "this machine",
            Reach::Private => "private network",
            Reach::Public => "public",
        };
        let kind = match offered.address.path {
            Path::Relay => "relay, ",
            Path::Direct | Path::Local => "",
        };
        format!("{} ({kind}{reach})", offered.address.address)
    });
    line.collect()
}

/// Shows the code that the daemon's owner compares, once the daemon has asked, and again if it
/// changes (the daemon was restarted meanwhile).
async fn show_code(client: &Client<'_>, offer: &Offer) -> Result<(), Stop> {
    let mut snapshots = client.runtime.subscribe();
    let mut shown = None;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let pairing = snapshot
            .pairings
            .iter()
            .find(|pairing| pairing.server_id == offer.server_id);
        if let Some(PairingSnapshot {
            code: Some(code), ..
        }) = pairing
            && shown.as_ref() != Some(code)
        {
            shown = Some(code.clone());
            tell(client, offer, code).await?;
        }
        if snapshots.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn tell(client: &Client<'_>, offer: &Offer, code: &str) -> Result<(), Stop> {
    if client.output.mode.json {
        let line = Line::Pairing {
            server_id: &offer.server_id,
            name: &offer.name,
            code,
        };
        return client.output.json(&line).await;
    }
    let (start, end) = code.split_at(code.len() / 2);
    let name = text::one_line(&offer.name);
    let words = format!(
        "Code: {start} {end}\nWaiting for a yes at {name}, where the same code must be shown.\n"
    );
    client.output.err(words).await
}

#[cfg(test)]
mod tests {
    use bowline_runtime::{OfferAddress, protocol::ServerId, transport::Address};

    use super::*;

    #[test]
    fn tr_14_an_offer_is_described_for_people() {
        let address = |path, address: &str, reach| OfferAddress {
            address: Address {
                path,
                address: address.to_owned(),
            },
            reach,
        };
        let offer = OfferInfo {
            server_id: ServerId::of_public_key(&[1; 32]),
            name: "work\u{1b}[2Jshop\n".to_owned(),
            addresses: vec![
                address(Path::Direct, "127.0.0.1:4717", Reach::Loopback),
                address(Path::Direct, "10.0.0.7:4717", Reach::Private),
                address(Path::Relay, "wss://relay.example.org", Reach::Public),
            ],
            host: OfferHost::OtherKey {
                name: "old".to_owned(),
            },
        };
        let described = described(&offer);
        let lines: Vec<_> = described.lines().collect();
        assert_eq!(
            lines[0],
            format!(r"work\u{{1b}}[2Jshop\n ({})", offer.server_id)
        );
        assert_eq!(lines[1], "  127.0.0.1:4717 (this machine)");
        assert_eq!(lines[2], "  10.0.0.7:4717 (private network)");
        assert_eq!(lines[3], "  wss://relay.example.org (relay, public)");
        assert!(lines[4].contains("another key"), "{described}");
    }
}
