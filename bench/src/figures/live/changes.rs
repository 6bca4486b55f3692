//! Changes of rows a second through one session, and how often one is serialised for many.

use std::time::Instant;

use bowline_local::Client as Local;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{app, fill, sheet};
use crate::{
    Bench, Outcome,
    client::{Connected, Devices},
    process,
    report::{Measured, Target, Unit},
    stats::{Samples, per_second},
};

/// Rows that change in one transaction.
const AT_ONCE: u32 = 100;
/// Transactions in flight.
const WINDOW: usize = 8;
/// Followers of one table, each with its own session.
const FOLLOWERS: usize = 64;

pub(in crate::figures) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let daemon = sheet(bench, "changes").await?;
    let local = process::control(&daemon).await?;
    fill(&local, AT_ONCE).await?;
    let client = app(&daemon, bench, "changes-app").await?;
    let host = client.server_id()?;
    let runtime = client.runtime();
    let mut table = runtime.subscribe_table(&host, "sheet.cells", &json!({}))?;
    while table.next().await?.rows.len() < AT_ONCE as usize {}
    let repetitions = bench.pick(15, 3);
    let transactions = bench.pick(500, 50);
    let mut rate = Samples::default();
    let mut times = 1;
    for _ in 0..repetitions {
        let start = Instant::now();
        let mut changing = stream::iter(0..transactions)
            .map(|_| fill(&local, AT_ONCE))
            .buffer_unordered(WINDOW);
        while let Some(done) = changing.next().await {
            done?;
        }
        times += transactions;
        let last = format!("\"times\":{times}}}");
        let is_last = |json: &str| json.ends_with(&last);
        while !table
            .next()
            .await?
            .rows
            .iter()
            .all(|row| is_last(row.value.get()))
        {}
        rate.one(per_second(transactions * AT_ONCE as usize, start.elapsed()));
    }
    let counted = serialised(bench, &daemon, &local).await?;
    Measured::by(format!(
        "{repetitions} times: {transactions} transactions of {AT_ONCE} changed rows, {WINDOW} in flight on the local socket, until an app over loopback shows the \
         last change of each row. Then {FOLLOWERS} connections of as many sessions open the table, one row changes, and the daemon's own counter \
         tells how often that was serialised"
    ))
    .goal("changed rows", Unit::PerSecond, &rate, Target::AtLeast(20_000.0))?
    .goal("serialisations for 64 followers", Unit::Count, &counted, Target::Exactly(1.0))
}

/// Serialisations of one change that many follow.
async fn serialised(
    bench: &Bench,
    daemon: &bowline_testkit::world::DaemonProcess,
    local: &Local,
) -> Outcome<Samples> {
    let devices = Devices::of(daemon)?;
    let mut clients = Vec::with_capacity(FOLLOWERS);
    for _ in 0..FOLLOWERS {
        let dialer = devices.pair(process::offer(local).await?).await?;
        let connected = Connected::open(dialer).await?;
        let open = json!({"kind": "table", "name": "sheet.cells", "params": {}});
        connected
            .client
            .call::<_, Value>("live.open", &open)
            .await?;
        clients.push(connected);
    }
    let mut counted = Samples::default();
    for _ in 0..bench.pick(50, 10) {
        let before = events(local).await?;
        fill(local, 1).await?;
        counted.one(events(local).await? - before);
    }
    Ok(counted)
}

async fn events(local: &Local) -> Outcome<f64> {
    let status = process::status(local).await?;
    let counter = status
        .get("ledger")
        .and_then(|of| of.get("eventsSerialised"));
    Ok(counter.and_then(Value::as_f64).ok_or("no such counter")?)
}
