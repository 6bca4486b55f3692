//! How long an app waits, at a cold start without network, for the rows of a table that it showed
//! before (LD-5).

use std::time::Instant;

use bowline_runtime::{Beyond, TableState};
use bowline_testkit::world::{Client, quick_settings};
use serde_json::json;

use super::{ROWS, fill, sheet};
use crate::{
    Bench, Outcome, process,
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since},
};

const TABLE: &str = "sheet.cells";

pub(in crate::figures) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let repetitions = bench.pick(100, 10);
    let daemon = sheet(bench, "cached").await?;
    fill(&process::control(&daemon).await?, ROWS).await?;
    let mut client = Client::open(bench.dir.join("cached-app"), quick_settings(1))?;
    client.pair(&daemon, &[daemon.address()]).await?;
    client.online().await?;
    let host = client.server_id()?;
    let mut table = client.runtime().subscribe_table(&host, TABLE, &json!({}))?;
    loop {
        let view = table.next().await?;
        if view.rows.len() == ROWS as usize && view.state == TableState::Ready {
            break;
        }
        if view.beyond == Beyond::More {
            table.load_more()?;
        }
    }
    drop(daemon);
    let mut painted = Samples::default();
    for _ in 0..repetitions {
        client.restart().await?;
        let start = Instant::now();
        let mut table = client.runtime().subscribe_table(&host, TABLE, &json!({}))?;
        let view = table.next().await?;
        painted.one(micros_since(start));
        if view.rows.len() != ROWS as usize {
            let rows = view.rows.len();
            return Err(format!("the first view has {rows} rows from the cache").into());
        }
    }
    Measured::by(format!(
        "{repetitions} times with a runtime that was just opened, while nothing listens at the daemon's address: `subscribe_table` of {ROWS} rows of about 40 \
         bytes that an earlier run loaded, until the first view, which has all of them. The file is in the system's cache. Not pinned"
    ))
    .goal("the rows of the last run", Unit::Micros, &painted, Target::AtMost(10_000.0))
}
