//! What a follow costs the daemon while nothing changes.

use serde_json::{Value, json};

use super::sheet;
use crate::{
    Bench, Outcome,
    client::{Connected, Devices},
    process,
    report::{Measured, Target, Unit},
    stats::Samples,
};

/// Follows of one session.
const EACH: usize = 80;

pub(in crate::figures) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let sessions = bench.pick(64, 16);
    let daemon = sheet(bench, "follows").await?;
    let local = process::control(&daemon).await?;
    let devices = Devices::of(&daemon)?;
    let mut clients = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let dialer = devices.pair(process::offer(&local).await?).await?;
        clients.push(Connected::open(dialer).await?);
    }
    let mut each = Samples::default();
    let mut held = process::settled_memory(daemon.pid()).await?;
    for round in 0..3 {
        for (n, connected) in clients.iter().enumerate() {
            for follow in 0..EACH {
                let prefix = format!("{n}/{round}/{follow}/");
                let params = json!({"prefix": prefix});
                let open = json!({"kind": "table", "name": "sheet.styles", "params": params});
                connected
                    .client
                    .call::<_, Value>("live.open", &open)
                    .await?;
            }
        }
        let now = process::settled_memory(daemon.pid()).await?;
        let follows = u32::try_from(sessions * EACH)?;
        each.one((now - held) / f64::from(follows));
        held = now;
    }
    Measured::by(format!(
        "VmRSS of the daemon before and after {sessions} connections of as many sessions each follow {EACH} scopes more of a table, all different, \
         that have no rows; 3 times"
    ))
    .goal("a follow", Unit::Bytes, &each, Target::AtMost(1024.0))
}
