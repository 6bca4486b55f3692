//! `lock` and `unlock`: refuse all devices and stop agents, and end that (TR-15).

use bowline_program::{print, say};
use bowline_protocol::methods::{Empty, name};
use serde::{Deserialize, Serialize};

use super::{
    Failure,
    socket::{Asked, call},
};

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_at: Option<i64>,
    changed: bool,
}

pub(super) fn lock(asked: &Asked, json: bool) -> Result<(), Failure> {
    let lock: Lock = call(asked, name::DAEMON_LOCK, &Empty {})?;
    if json {
        return print::json(&lock).map_err(Failure::failed);
    }
    if lock.changed {
        say!(
            "locked: every device is refused, and agents are stopped, until `{} unlock`. \
             A restart of the daemon does not end that.",
            asked.program
        );
    } else {
        say!("locked already");
    }
    Ok(())
}

pub(super) fn unlock(asked: &Asked, json: bool) -> Result<(), Failure> {
    let lock: Lock = call(asked, name::DAEMON_UNLOCK, &Empty {})?;
    if json {
        return print::json(&lock).map_err(Failure::failed);
    }
    if lock.changed {
        say!("unlocked: devices are served again, and turns that waited begin");
    } else {
        say!("not locked");
    }
    Ok(())
}
