//! What one changed row costs an app, in a short and in a long table (LD-4).

use std::{hint::black_box, sync::Arc, time::Instant};

use bowline_protocol::live::Json;
use bowline_runtime::{RowList, TableRow, TableView};
use serde_json::value::to_raw_value;

use crate::{
    Bench, Outcome,
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since},
};

/// Rows changed for one sample, spread over the table.
const CHANGED: usize = 1_000;

pub(in crate::figures) fn measure(bench: &Bench) -> Outcome<Measured> {
    let repetitions = bench.pick(100, 10);
    let (mut short, mut long) = (Samples::default(), Samples::default());
    let tables = (table(100)?, table(100_000)?);
    for _ in 0..repetitions {
        short.one(changes(&tables.0)?);
        long.one(changes(&tables.1)?);
    }
    Measured::by(format!(
        "{repetitions} times: {CHANGED} rows spread over a table of 100 and of 100,000 rows are replaced one by one, each with a view and its diff, \
         a sample being the mean. Not pinned"
    ))
    .row("a row of 100", Unit::Micros, &short)?
    .row("a row of 100,000", Unit::Micros, &long)?
    .beside("a row of 100,000", "a row of 100", (&long, &short), Some(Target::AtMost(1.2)))
}

fn row(n: usize, times: usize) -> Outcome<TableRow> {
    let value = serde_json::json!({"text": format!("text {n}"), "times": times});
    Ok(TableRow {
        key: format!("c{n:06}").into(),
        value: Json::from(to_raw_value(&value)?),
        omitted_bytes: None,
        unreadable: false,
        pending: false,
        failure: None,
    })
}

fn table(rows: usize) -> Outcome<RowList<TableRow>> {
    let mut list = RowList::default();
    for n in 0..rows {
        list.insert(Arc::new(row(n, 0)?));
    }
    Ok(list)
}

/// Mean microseconds to change a row.
fn changes(list: &RowList<TableRow>) -> Outcome<f64> {
    let step = (list.len() / CHANGED).max(1);
    let changed = (0..CHANGED).map(|n| row(n * step % list.len(), n + 1));
    let changed = changed.collect::<Outcome<Vec<_>>>()?;
    let mut rows = list.clone();
    let mut shown = TableView {
        rows: rows.clone(),
        ..TableView::default()
    };
    let start = Instant::now();
    for row in changed {
        rows.insert(Arc::new(row));
        let next = TableView {
            rev: shown.rev + 1,
            rows: rows.clone(),
            ..shown.clone()
        };
        black_box(next.diff(Some(&shown)));
        shown = next;
    }
    Ok(micros_since(start) / CHANGED as f64)
}
