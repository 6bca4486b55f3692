//! Summary of several runs: the smallest, middle and largest value of each figure, as Markdown
//! tables.
//!
//! Ratios to a bare peer come first, since another machine can confirm them; absolute figures are
//! specific to this machine.

use std::fmt::Write;

use serde::Serialize;

use super::report::{Row, Run, Target, Unit};

/// One row over all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Spread<'a> {
    figure: &'static str,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'static str>,
    unit: Unit,
    /// Smallest of the runs' medians; with one run, of its repetitions' medians.
    min: f64,
    /// Median of the runs' medians.
    median: f64,
    /// Largest, as for `min`.
    max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

/// Every row with a peer or a target, over the runs that measured it.
pub(super) fn of(runs: &[Run]) -> Vec<Spread<'_>> {
    let mut spreads = Vec::new();
    for (figure, row) in runs.iter().flat_map(rows) {
        let key = (figure, row.what.as_str(), row.peer);
        let is_known = spreads
            .iter()
            .any(|one: &Spread<'_>| (one.figure, one.what, one.peer) == key);
        if is_known || (row.peer.is_none() && row.target.is_none()) {
            continue;
        }
        let again = runs
            .iter()
            .flat_map(rows)
            .filter(|(other, again)| (*other, again.what.as_str(), again.peer) == key);
        let mut medians: Vec<f64> = again.map(|(_, row)| row.summary.median).collect();
        medians.sort_by(f64::total_cmp);
        let (min, max) = match medians.as_slice() {
            [low, .., high] => (*low, *high),
            _ => (row.summary.low, row.summary.high),
        };
        spreads.push(Spread {
            figure,
            what: &row.what,
            peer: row.peer,
            unit: row.unit,
            min,
            median: medians
                .get(medians.len() / 2)
                .copied()
                .unwrap_or(row.summary.median),
            max,
            target: row.target,
        });
    }
    spreads
}

fn rows(run: &Run) -> impl Iterator<Item = (&'static str, &Row)> {
    run.figures.iter().flat_map(|entry| {
        let measured = entry.measured.iter();
        let rows = measured.flat_map(|measured| &measured.rows);
        rows.map(|row| (entry.name, row))
    })
}

/// The tables, in Markdown.
pub(super) fn markdown(spreads: &[Spread<'_>], runs: usize) -> String {
    let of = match runs {
        1 => "one run; min and max of its repetitions".to_owned(),
        runs => format!("{runs} runs"),
    };
    let (ratios, absolute): (Vec<_>, Vec<_>) =
        spreads.iter().partition(|spread| spread.peer.is_some());
    let mut out = String::new();
    if !ratios.is_empty() {
        let _ = writeln!(
            out,
            "\nRatios, {of}:\n\n| figure | | to that of | min | median | max | target |\n|---|---|---|---|---|---|---|"
        );
    }
    for spread in ratios {
        line(
            &mut out,
            spread,
            &[spread.what, spread.peer.unwrap_or_default()],
        );
    }
    if !absolute.is_empty() {
        let _ = writeln!(
            out,
            "\nThis machine's own, {of}:\n\n| figure | | min | median | max | target |\n|---|---|---|---|---|---|"
        );
    }
    for spread in absolute {
        line(&mut out, spread, &[spread.what]);
    }
    out.truncate(out.trim_end().len());
    out
}

fn line(out: &mut String, spread: &Spread<'_>, words: &[&str]) {
    let unit = spread.unit;
    let [min, median, max] = [spread.min, spread.median, spread.max].map(|value| unit.show(value));
    let target = spread
        .target
        .map_or_else(String::new, |target| target.show(unit));
    let _ = writeln!(
        out,
        "| `{}` | {} | {min} | {median} | {max} | {target} |",
        spread.figure,
        words.join(" | "),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{Entry, Measured},
        stats::Samples,
    };

    fn run(ours: &[f64]) -> Run {
        let (mut mine, mut theirs) = (Samples::default(), Samples::default());
        for sample in ours {
            mine.one(*sample);
            theirs.one(2.0);
        }
        let target = Some(Target::AtMost(1.5));
        let measured = Measured::by("by hand".to_owned())
            .row("bare echo", Unit::Micros, &theirs)
            .and_then(|measured| measured.goal("it", Unit::Micros, &mine, Target::AtMost(9.0)))
            .and_then(|measured| measured.beside("it", "a bare echo", (&mine, &theirs), target))
            .unwrap();
        Run {
            figures: vec![Entry::measured("x", measured)],
            ..Run::default()
        }
    }

    #[test]
    fn the_spread_is_of_the_runs_medians() {
        let runs = [run(&[2.0, 100.0, 2.0]), run(&[6.0]), run(&[4.0])];
        let spreads = of(&runs);
        let [absolute, ratio] = spreads.as_slice() else {
            panic!("{spreads:?}");
        };
        assert_eq!(
            (absolute.min, absolute.median, absolute.max),
            (2.0, 4.0, 6.0)
        );
        assert_eq!((ratio.min, ratio.median, ratio.max), (1.0, 2.0, 3.0));
        let text = markdown(&spreads, 3);
        assert!(
            text.contains("| `x` | it | a bare echo | 1.00× | 2.00× | 3.00× | ≤ 1.50× |"),
            "{text}"
        );
        assert!(text.find("Ratios, 3 runs") < text.find("This machine's own, 3 runs"));
    }

    #[test]
    fn one_run_tells_the_spread_of_its_repetitions() {
        let runs = [run(&[2.0, 8.0, 4.0])];
        let spreads = of(&runs);
        assert_eq!(
            (spreads[1].min, spreads[1].median, spreads[1].max),
            (1.0, 2.0, 4.0)
        );
        assert!(markdown(&spreads, 1).contains("one run"));
    }

    #[test]
    fn a_figure_that_a_run_could_not_measure_is_told_by_the_others() {
        let runs = [Run::default(), run(&[2.0]), run(&[6.0])];
        assert_eq!((of(&runs)[1].min, of(&runs)[1].max), (1.0, 3.0));
    }
}
