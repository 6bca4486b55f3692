//! `devices revoke`: withdraws a device's pairing. A device is named by its name, or by a part of its id.

use bowline_program::{say, short_ids};
use bowline_protocol::{
    DeviceId,
    methods::{Empty, name},
    text::one_line,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Exit, Failure,
    ask::{ago, all_devices, text},
    socket::{Asked, call},
};

/// Fewest letters of an id that stand for it: what is revoked has to pair again, so it must not be a slip.
const FEWEST: usize = 4;
/// Most devices that an error lists.
const LISTED: usize = 10;

/// Parameters of `devices.revoke`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Revoke {
    device_id: DeviceId,
}

pub(super) fn revoke(asked: &Asked, word: &str) -> Result<(), Failure> {
    let devices = all_devices(asked)?;
    let (id, was) = match find(&devices, word)? {
        Some(device) => {
            let known = format!(
                "`{}` ({}, paired {}, last seen {})",
                text(device, "name"),
                text(device, "platform"),
                ago(device, "pairedAt"),
                ago(device, "lastSeenAt")
            );
            if device.get("revoked").and_then(Value::as_bool) == Some(true) {
                say!("{known} is revoked already.");
                return Ok(());
            }
            (text(device, "deviceId"), known)
        }
        // The daemon has the last word about a whole id.
        None => (word.to_owned(), String::new()),
    };
    let Ok(device_id) = id.parse::<DeviceId>() else {
        return Err(unknown(asked, &devices, word));
    };
    let params = Revoke { device_id };
    let Empty {} = call(asked, name::DEVICES_REVOKE, &params)?;
    say!("revoked {was} {id}; its connections are cut.");
    Ok(())
}

/// The device that a word means: a whole id, else a name that only one has, else a beginning or an end of an id that only one
/// has. Those that are revoked already count only where no other fits.
fn find<'a>(devices: &'a [Value], word: &str) -> Result<Option<&'a Value>, Failure> {
    let string = |device: &'a Value, key| device.get(key).and_then(Value::as_str).unwrap_or("");
    let id = |device: &'a Value| string(device, "deviceId");
    let is_revoked = |device: &&Value| device.get("revoked").and_then(Value::as_bool) == Some(true);
    let fits: [&dyn Fn(&'a Value) -> bool; 3] = [
        &|device| id(device) == word,
        &|device| string(device, "name") == word || string(device, "device") == word,
        &|device| word.chars().count() >= FEWEST && short_ids::means(id(device), word),
    ];
    for fits in fits {
        let all: Vec<_> = devices.iter().filter(|device| fits(device)).collect();
        let paired: Vec<_> = all
            .iter()
            .copied()
            .filter(|device| !is_revoked(device))
            .collect();
        let found = if paired.is_empty() { all } else { paired };
        match found.as_slice() {
            [] => {}
            [one] => return Ok(Some(one)),
            several => {
                let message = format!("`{}` may be any of:{}", one_line(word), lines(several));
                return Err(Failure::new(Exit::Usage, message));
            }
        }
    }
    Ok(None)
}

fn unknown(asked: &Asked, devices: &[Value], word: &str) -> Failure {
    let word = one_line(word);
    let there: Vec<_> = devices.iter().collect();
    let message = if there.is_empty() {
        format!(
            "no device `{word}`: none has paired yet; `{} pair` makes an offer",
            asked.program
        )
    } else {
        format!("no device `{word}`; there are:{}", lines(&there))
    };
    Failure::new(Exit::Usage, message)
}

fn lines(devices: &[&Value]) -> String {
    let ids = devices.iter();
    let ids = ids.filter_map(|device| device.get("deviceId").and_then(Value::as_str));
    let length = short_ids::short_length(ids);
    let shown = devices.iter().take(LISTED).map(|device| {
        let id = text(device, "deviceId");
        format!(
            "\n  {}  {}",
            short_ids::end(&id, length),
            text(device, "name")
        )
    });
    let mut text: String = shown.collect();
    if devices.len() > LISTED {
        text += &format!("\n  … and {} more", devices.len() - LISTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn device(n: u8, name: &str, revoked: bool) -> Value {
        let key = bowline_protocol::PublicKey::from_bytes([n; 32]);
        let id = DeviceId::of_public_key(&key);
        json!({"deviceId": id, "name": name, "revoked": revoked})
    }

    #[test]
    fn a_device_is_named_by_id_by_name_or_by_a_part_of_its_id() {
        let devices = [
            device(1, "bowline on laptop", false),
            device(2, "phone", true),
            device(3, "phone", false),
            device(4, "tablet", false),
            device(5, "tablet", false),
        ];
        let id = |n: usize| devices[n].get("deviceId").and_then(Value::as_str).unwrap();
        let found =
            |word: &str| find(&devices, word).map(|found| found.map(|one| text(one, "deviceId")));
        for word in [id(0), &id(0)[22..], &id(0)[..12], "bowline on laptop"] {
            assert_eq!(found(word).unwrap().as_deref(), Some(id(0)), "{word}");
        }
        assert_eq!(
            found("phone").unwrap().as_deref(),
            Some(id(2)),
            "the other one is revoked"
        );
        let error = found("tablet").unwrap_err().message;
        assert!(
            error.contains(&id(3)[22..]) && error.contains(&id(4)[22..]),
            "{error}"
        );
        assert_eq!(
            found(&id(0)[27..]).unwrap(),
            None,
            "too short for what cannot be undone"
        );
        assert_eq!(found("watch").unwrap(), None);
    }
}
