//! `pair`: creates an offer, shows it as a link and a QR code, and asks whether to pair with the
//! device that comes (TR-3).

use std::{
    fmt,
    io::{BufRead, IsTerminal, stdin, stdout},
    time::Duration,
};

use bowline_program::{Exit, ages, print, say};
use bowline_protocol::{Grant, Offer, methods::name};
use clap::Args;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Failure,
    grant::{self, GrantFlags},
    socket::{Asked, call},
};
use crate::{config::Timeout, control::MAX_PAIRING_TTL};

/// Wait of one call for a device.
const WAIT_MS: u64 = 5_000;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    offer_id: String,
    offer: String,
    expires_at: i64,
}

/// A device that asks to pair.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asking {
    device_id: String,
    name: String,
    platform: String,
    code: String,
    asked_at: i64,
}

impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = self.code.split_at(self.code.len() / 2);
        write!(f, "{} ({}), code {start} {end}", self.name, self.platform)
    }
}

#[derive(Deserialize)]
struct Waited {
    request: Option<Asking>,
}

/// Flags of the command.
#[derive(Debug, Args)]
pub(super) struct How {
    /// How long the offer is valid, for example 10m
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    ttl: Timeout,
    /// Pair with the first device that has the offer, without a question; the default where there
    /// is no terminal to ask on
    #[arg(long, conflicts_with = "ask")]
    yes: bool,
    /// Ask before a device is paired; the default on a terminal
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    grant: GrantFlags,
    /// Print {"offerId","offer","expiresAt"} and do not wait. With --ask, answer with `offers
    /// approve`
    #[arg(long)]
    json: bool,
}

impl How {
    /// Whether the owner is asked: on a terminal, unless told otherwise. A script that is not
    /// prepared for a question gets an offer that pairs without one.
    fn asks(&self) -> bool {
        self.ask || (!self.yes && !self.json && is_terminal())
    }
}

/// Whether somebody reads the questions and can answer them.
pub(super) fn is_terminal() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

pub(super) fn pair(asked: &Asked, how: &How) -> Result<(), Failure> {
    let Some(duration) = how.ttl.get().filter(|ttl| ttl.as_secs() > 0) else {
        return Err(Failure::usage(
            "--ttl must be at least 1s: an offer that never ends would be a password",
        ));
    };
    if duration > MAX_PAIRING_TTL {
        return Err(Failure::usage(
            "--ttl must be at most 7d: an offer is a password while it is good",
        ));
    }
    let asks = how.asks();
    let grant = how.grant.apply(Grant::OWNER)?;
    let ends = how.grant.expires().flatten();
    let mut params = json!({"ttlSeconds": duration.as_secs(), "approve": asks, "grant": grant});
    if let (Some(ends), Value::Object(params)) = (ends, &mut params) {
        params.insert("deviceTtlSeconds".to_owned(), ends.as_secs().into());
    }
    let created: Created = call(asked, name::PAIRING_CREATE, &params)?;
    if how.json {
        return print::json(&created).map_err(Failure::failed);
    }
    let until = ages::utc(u64::try_from(created.expires_at).unwrap_or_default());
    say!("{}", words(&created.offer, asked.program));
    if !asks {
        say!(
            "The offer works once, until {until} ({}). Anyone who has it can pair, so keep it secret.\n",
            how.ttl
        );
    } else {
        say!(
            "The offer is for one device, until {until} ({}). You are asked before it is paired.\n",
            how.ttl
        );
    }
    say!("{}\n", may(&grant, how.grant.expires().flatten()));
    if !is_for_this_machine(&created.offer)
        && let Some(code) = qr(&created.offer)
    {
        say!("{code}\n");
    }
    say!("{}", created.offer);
    if !asks {
        return Ok(());
    }
    say!(
        "\nWaiting for a device. Ctrl-C stops waiting, and the offer stays valid: `{} offers` lists it.",
        asked.program
    );
    let asking = loop {
        if let Some(asking) = asking(asked, &created.offer_id, WAIT_MS)? {
            break asking;
        }
    };
    answer(asked, &created.offer_id, &asking)
}

/// What the device may do, in a sentence.
fn may(grant: &Grant, ends: Option<Duration>) -> String {
    let ends = match ends {
        Some(ends) => format!(", for {}", Timeout::of(ends)),
        None => String::new(),
    };
    if *grant == Grant::OWNER {
        format!("The device may do everything that you may (role owner){ends}.")
    } else {
        format!("The device gets this: {}{ends}.", grant::words(grant))
    }
}

/// The device that asks with an offer, after a wait of at most this long.
pub(super) fn asking(
    asked: &Asked,
    offer_id: &str,
    wait_ms: u64,
) -> Result<Option<Asking>, Failure> {
    let params = json!({"offerId": offer_id, "waitMs": wait_ms});
    let waited: Waited = call(asked, name::PAIRING_WAIT, &params)?;
    Ok(waited.request)
}

/// Shows the device and asks. Anything but a yes refuses it.
pub(super) fn answer(asked: &Asked, offer_id: &str, device: &Asking) -> Result<(), Failure> {
    let (start, end) = device.code.split_at(device.code.len() / 2);
    say!(
        "\n{} ({}) asks to pair.\nIt shows this code, if it is your device:  {start} {end}\n",
        device.name,
        device.platform
    );
    print::out(format_args!("Pair with it? [y/N] "));
    forget_what_was_typed();
    let mut line = String::new();
    // Without an answer nothing is paired.
    let _ = stdin().lock().read_line(&mut line);
    if matches!(line.trim(), "y" | "Y" | "yes" | "Yes") {
        return approve(asked, offer_id, device, false);
    }
    let params = json!({"offerId": offer_id});
    call::<Value>(asked, name::PAIRING_REFUSE, &params)?;
    Err(Failure::new(
        Exit::Refused,
        "refused; the offer is void, and the device was told",
    ))
}

/// What was typed before the question is no answer to it.
#[cfg(unix)]
fn forget_what_was_typed() {
    use rustix::termios::{QueueSelector, tcflush};
    // What is no terminal has its answers ready.
    let _ = tcflush(stdin(), QueueSelector::IFlush);
}

#[cfg(not(unix))]
const fn forget_what_was_typed() {}

/// Pairs the device that asks and shows this code.
pub(super) fn approve(
    asked: &Asked,
    offer_id: &str,
    device: &Asking,
    json: bool,
) -> Result<(), Failure> {
    let params = json!({
        "offerId": offer_id,
        "deviceId": device.device_id,
        "code": device.code,
    });
    let paired: Value = call(asked, name::PAIRING_APPROVE, &params)?;
    if json {
        return print::json(&paired).map_err(Failure::failed);
    }
    say!("Paired with {} ({}).", device.name, device.device_id);
    Ok(())
}

/// Whether `code` is the one that the device shows, however it is grouped.
pub(super) fn is_code(device: &Asking, code: &str) -> bool {
    code.chars()
        .filter(|c| !c.is_whitespace())
        .eq(device.code.chars())
}

/// Instructions for the offer.
fn words(offer: &str, program: &str) -> String {
    if is_for_this_machine(offer) {
        format!(
            "This offer is good on this machine only, since the daemon listens on nothing that another one reaches. Pair here\n\
             with `bowline pair 'LINK'`. For a phone or another computer start the daemon again and make a new offer:\n  \
             {program} run --listen 0.0.0.0:{port}          in the same network (--advertise HOST:PORT if it has a name)\n  \
             {program} run --relay wss://RELAY           from anywhere, through a relay",
            port = crate::config::DEFAULT_PORT
        )
    } else {
        "Scan this with the app, or open the link on the device to pair; in a terminal: `bowline pair 'LINK'`, in single quotes."
            .to_owned()
    }
}

fn is_for_this_machine(offer: &str) -> bool {
    offer
        .parse::<Offer>()
        .is_ok_and(|offer| offer.is_for_one_machine())
}

/// The QR code for a terminal; `None` for a link too long for one.
fn qr(link: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(link, EcLevel::L).ok()?;
    let image = code
        .render::<Dense1x2>()
        // Most terminals are dark: light modules are drawn, dark ones left out.
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Some(image)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_code_holds_the_link() {
        let code = super::qr(&format!("bowline://pair?v=1&{}", "x".repeat(200))).unwrap();
        assert!(code.lines().count() > 20 && code.contains('█'));
        assert!(super::qr(&"x".repeat(4_000)).is_none());
    }
}
