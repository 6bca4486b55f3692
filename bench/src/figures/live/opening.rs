//! How long an app waits for the rows of a table that it has never seen.

use std::time::Instant;

use bowline_runtime::Beyond;
use serde_json::json;

use super::{ROWS, app, fill, sheet};
use crate::{
    Bench, Outcome, process,
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since},
};

pub(in crate::figures) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let daemon = sheet(bench, "opening").await?;
    fill(&process::control(&daemon).await?, ROWS).await?;
    let mut client = app(&daemon, bench, "opening-app").await?;
    let repetitions = bench.pick(30, 5);
    let (mut first, mut all) = (Samples::default(), Samples::default());
    for _ in 0..repetitions {
        let host = client.server_id()?;
        let start = Instant::now();
        let mut table = client
            .runtime()
            .subscribe_table(&host, "sheet.cells", &json!({}))?;
        let mut is_painted = false;
        loop {
            let view = table.next().await?;
            if !is_painted && !view.rows.is_empty() {
                is_painted = true;
                first.one(micros_since(start));
            }
            if view.rows.len() == ROWS as usize {
                break;
            }
            if view.beyond == Beyond::More {
                table.load_more()?;
            }
        }
        all.one(micros_since(start));
        drop(table);
        // The runtime keeps what was open for a while: the next one must not find it.
        client.restart().await?;
        client.online().await?;
    }
    Measured::by(format!(
        "{repetitions} times with an app that has just started and is online, over loopback: `subscribe_table` of {ROWS} rows of about 40 bytes, until the \
         first rows are in a view, and until all are, which the app asks for page by page"
    ))
    .row("the first rows", Unit::Micros, &first)?
    .goal("all 10,000 rows", Unit::Micros, &all, Target::AtMost(60_000.0))
}
