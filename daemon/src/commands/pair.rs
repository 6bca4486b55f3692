//! `pair`: one chance to pair, as a link and as a QR code.

use bowline_program::{ages, print, say};
use bowline_protocol::{Offer, methods::name};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde::{Deserialize, Serialize};

use super::{
    Exit, Failure,
    socket::{Asked, call},
};
use crate::{config::Lapse, control::MAX_PAIRING_TTL};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    ttl_seconds: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    offer: String,
    expires_at: i64,
}

pub(super) fn pair(asked: &Asked, ttl: Lapse, json: bool) -> Result<(), Failure> {
    let Some(duration) = ttl.get().filter(|ttl| ttl.as_secs() > 0) else {
        return Err(Failure::new(
            Exit::Usage,
            "--ttl must be at least 1s: an offer that never ends would be a password",
        ));
    };
    if duration > MAX_PAIRING_TTL {
        return Err(Failure::new(
            Exit::Usage,
            "--ttl must be at most 7d: an offer is a password while it is good",
        ));
    }
    let params = Create {
        ttl_seconds: duration.as_secs(),
    };
    let created: Created = call(asked, name::PAIRING_CREATE, &params)?;
    if json {
        return print::json(&created).map_err(|error| Failure::new(Exit::Failed, error));
    }
    let until = ages::utc(u64::try_from(created.expires_at).unwrap_or_default());
    say!("{}", words(&created.offer, asked.program));
    say!(
        "The offer works once, until {until} ({ttl}). Whoever has it can pair, so show it to nobody else.\n"
    );
    if !is_for_this_machine(&created.offer)
        && let Some(code) = qr(&created.offer)
    {
        say!("{code}\n");
    }
    say!("{}", created.offer);
    Ok(())
}

/// What to do with the offer.
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
        // Terminals are mostly dark: light modules are drawn, dark ones left out.
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
