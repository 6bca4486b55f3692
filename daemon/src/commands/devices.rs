//! `devices revoke` and `devices set`: withdraws a device's pairing, or changes what it may do. A
//! device is given by its name or by a part of its id.

use bowline_program::{ages, print, say, short_ids};
use bowline_protocol::{
    DeviceId, Grant,
    methods::{Empty, name},
    text::one_line,
};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Failure,
    ask::{ago, all_devices, text},
    grant::{self, GrantFlags},
    socket::{Asked, call},
};

/// Fewest letters of a partial id. A revoked device has to pair again, so a typing error must not
/// match.
const FEWEST: usize = 4;
/// Most devices that an error message lists.
const LISTED: usize = 10;

/// Flags of `devices set`.
#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    grant: GrantFlags,
    /// Agents of every provider again
    #[arg(long, conflicts_with = "provider")]
    any_provider: bool,
    /// Agents in every folder again
    #[arg(long, conflicts_with = "root")]
    any_root: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    turns_ended: u64,
}

/// Changes what a device may do.
pub(super) fn set(asked: &Asked, word: &str, change: &Change, json: bool) -> Result<(), Failure> {
    if change.grant.is_empty() && !change.any_provider && !change.any_root {
        return Err(Failure::usage(
            "say what changes: --role, --provider, --any-provider, --root, --any-root or --expires",
        ));
    }
    let devices = all_devices(asked)?;
    let device = find(&devices, word)?.ok_or_else(|| unknown(asked, &devices, word))?;
    let before = device.get("grant").cloned().unwrap_or_default();
    let before: Grant = serde_json::from_value(before).map_err(Failure::failed)?;
    let mut grant = change.grant.apply(before)?;
    if change.any_provider {
        grant.providers = None;
    }
    if change.any_root {
        grant.roots = None;
    }
    if let Some(expires) = change.grant.expires() {
        grant.expires_at = expires.map(|after| {
            let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            let at = ages::unix_millis().saturating_add(after);
            i64::try_from(at).unwrap_or(i64::MAX)
        });
    }
    let device_id = text(device, "deviceId");
    let params = json!({"deviceId": device_id, "grant": grant});
    let Empty {} = call(asked, name::DEVICES_SET, &params)?;
    if json {
        return print::json(&params).map_err(Failure::failed);
    }
    say!(
        "{} ({device_id}) is now: {}",
        text(device, "name"),
        grant::words(&grant)
    );
    Ok(())
}

/// Revokes a device.
pub(super) fn revoke(
    asked: &Asked,
    word: &str,
    keep_turns: bool,
    json: bool,
) -> Result<(), Failure> {
    let devices = all_devices(asked)?;
    let (id, was, again) = match find(&devices, word)? {
        Some(device) => {
            let known = format!(
                "`{}` ({}, paired {}, last seen {})",
                text(device, "name"),
                text(device, "platform"),
                ago(device, "pairedAt"),
                ago(device, "lastSeenAt")
            );
            let again = device.get("revoked").and_then(Value::as_bool) == Some(true);
            (text(device, "deviceId"), known, again)
        }
        // The daemon decides about a whole id.
        None => (word.to_owned(), String::new(), false),
    };
    let Ok(device_id) = id.parse::<DeviceId>() else {
        return Err(unknown(asked, &devices, word));
    };
    let params = json!({"deviceId": device_id, "keepTurns": keep_turns});
    let Revoked { turns_ended } = call(asked, name::DEVICES_REVOKE, &params)?;
    if json {
        let done = json!({"deviceId": device_id, "turnsEnded": turns_ended});
        return print::json(&done).map_err(Failure::failed);
    }
    let turns = match turns_ended {
        _ if keep_turns => "its turns go on".to_owned(),
        0 => "it had no turns".to_owned(),
        1 => "its one turn is ended".to_owned(),
        several => format!("its {several} turns are ended"),
    };
    if again {
        // Once more is not in vain: turns or the disk may have stood in the way before.
        say!("{was} {id} was revoked already; {turns}.");
    } else {
        say!("revoked {was} {id}; its connections are cut, and {turns}.");
    }
    Ok(())
}

/// The device that a word matches: a whole id, else a unique name, else a unique beginning or end
/// of an id. Devices already revoked match only if no other does.
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
                return Err(Failure::usage(message));
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
    Failure::usage(message)
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
        let error = found("tablet").unwrap_err().message().to_owned();
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
