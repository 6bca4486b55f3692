//! `pair`: one chance to pair, as a link and as a QR code.

use std::path::Path;

use bowline_program::{print, say};
use bowline_protocol::methods::name;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde::{Deserialize, Serialize};

use super::{Exit, Failure, socket::call};
use crate::config::Lapse;

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

pub(super) fn pair(socket: &Path, ttl: Lapse, json: bool) -> Result<(), Failure> {
    let Some(duration) = ttl.get().filter(|ttl| ttl.as_secs() > 0) else {
        return Err(Failure::new(
            Exit::Usage,
            "--ttl must be at least 1s: an offer that never ends would be a password",
        ));
    };
    let params = Create {
        ttl_seconds: duration.as_secs(),
    };
    let created: Created = call(socket, name::PAIRING_CREATE, &params)?;
    if json {
        return print::json(&created).map_err(|error| Failure::new(Exit::Failed, error));
    }
    say!("Scan this with the app, or open the link on the device to pair.");
    say!("It works once, within {ttl}. Whoever has it can pair, so show it to nobody else.\n");
    if let Some(code) = qr(&created.offer) {
        say!("{code}\n");
    }
    say!("{}", created.offer);
    Ok(())
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
