//! Results as text or JSON: each figure when it is measured, and a summary of all runs at the end.

use std::fmt::Write;

use bowline_program::{
    ages,
    table::{Cell, table},
};
use serde::Serialize;

use super::{
    Outcome,
    figures::Figure,
    spread::{self, Spread},
    stats::{Samples, Summary, ratios},
};

/// Unit of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    /// Microseconds.
    Micros,
    /// Per second.
    PerSecond,
    /// Bytes per second.
    BytesPerSecond,
    /// Bytes.
    Bytes,
    /// A ratio.
    Ratio,
    /// A plain count.
    Count,
}

impl Unit {
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Micros if value >= 10_000.0 => format!("{:.1} ms", value / 1e3),
            Self::Micros if value >= 1_000.0 => format!("{:.2} ms", value / 1e3),
            Self::Micros => format!("{value:.1} µs"),
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::BytesPerSecond => format!("{:.0} MiB/s", value / f64::from(1 << 20)),
            Self::Bytes if value.abs() >= f64::from(1 << 20) => {
                format!("{:.2} MiB", value / f64::from(1 << 20))
            }
            Self::Bytes => format!("{:.2} KiB", value / 1024.0),
            Self::Ratio => format!("{value:.2}×"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Target of a row's median, or of its p99 for [`Target::Tail`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    /// At most.
    AtMost(f64),
    /// At least.
    AtLeast(f64),
    /// Exactly.
    Exactly(f64),
    /// The p99 is at most this multiple of the median.
    Tail(f64),
}

impl Target {
    fn met(self, summary: &Summary) -> bool {
        match self {
            Self::AtMost(most) => summary.median <= most,
            Self::AtLeast(least) => summary.median >= least,
            Self::Exactly(value) => summary.low == value && summary.high == value,
            Self::Tail(times) => summary.p99.is_some_and(|p99| p99 < times * summary.median),
        }
    }

    pub(super) fn show(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", unit.show(most)),
            Self::AtLeast(least) => format!("≥ {}", unit.show(least)),
            Self::Exactly(value) => format!("= {}", unit.show(value)),
            Self::Tail(times) => format!("p99 < {times:.0}× median"),
        }
    }
}

/// One row of a figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) what: String,
    /// The peer of a ratio: `what` divided by the same value of this peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<&'static str>,
    pub(super) unit: Unit,
    #[serde(flatten)]
    pub(super) summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// The rows of one figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    method: String,
    pub(super) rows: Vec<Row>,
}

impl Measured {
    /// Starts a figure with its method.
    pub(super) const fn by(method: String) -> Self {
        Self {
            method,
            rows: Vec::new(),
        }
    }

    /// Adds a row without a target, for comparison.
    ///
    /// # Errors
    /// There are no samples.
    pub(super) fn row(self, what: &str, unit: Unit, samples: &Samples) -> Outcome<Self> {
        self.push(what, None, unit, samples, None)
    }

    /// Adds a row with a target.
    ///
    /// # Errors
    /// There are no samples.
    pub(super) fn goal(
        self,
        what: &str,
        unit: Unit,
        samples: &Samples,
        target: Target,
    ) -> Outcome<Self> {
        self.push(what, None, unit, samples, Some(target))
    }

    /// Adds the ratio of a series to that of a bare peer, measured alternately. Ratios repeat on
    /// other machines, absolute figures do not.
    ///
    /// # Errors
    /// There are no samples.
    pub(super) fn beside(
        self,
        what: &str,
        peer: &'static str,
        (ours, theirs): (&Samples, &Samples),
        target: Option<Target>,
    ) -> Outcome<Self> {
        self.push(what, Some(peer), Unit::Ratio, &ratios(ours, theirs), target)
    }

    fn push(
        mut self,
        what: &str,
        peer: Option<&'static str>,
        unit: Unit,
        samples: &Samples,
        target: Option<Target>,
    ) -> Outcome<Self> {
        let summary = samples.summary()?;
        self.rows.push(Row {
            what: what.to_owned(),
            peer,
            unit,
            summary,
            target,
            met: target.map(|target| target.met(&summary)),
        });
        Ok(self)
    }
}

/// All results.
#[derive(Serialize)]
pub(super) struct Report {
    version: &'static str,
    system: String,
    /// Start time, in UTC.
    date: String,
    quick: bool,
    runs: Vec<Run>,
    #[serde(skip)]
    json: bool,
}

/// One run through the figures.
#[derive(Default, Serialize)]
pub(super) struct Run {
    /// Load average of the last minute, if available: other processes distort figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load: Option<f64>,
    pub(super) figures: Vec<Entry>,
}

/// Result of one figure in one run.
#[derive(Serialize)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    title: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) measured: Option<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

impl Entry {
    /// A measured entry, for tests.
    #[cfg(test)]
    pub(super) const fn measured(name: &'static str, measured: Measured) -> Self {
        Self {
            name,
            title: "X",
            measured: Some(measured),
            failed: None,
        }
    }
}

impl Report {
    /// Starts a report; prints it as it grows, unless the output is JSON.
    pub(super) fn begin(json: bool, quick: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let report = Self {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{os} {arch}, {cores} cores"),
            date: ages::utc(ages::unix_millis()),
            quick,
            runs: Vec::new(),
            json,
        };
        if !json {
            bowline_program::say!("{}", report.head());
        }
        report
    }

    /// The heading: version, system and date.
    fn head(&self) -> String {
        let quick = if self.quick { ", quick" } else { "" };
        let Self {
            version,
            system,
            date,
            ..
        } = self;
        format!("bowline {version} on {system}, {date}{quick}")
    }

    /// Starts a run; later entries belong to it.
    pub(super) fn run(&mut self, number: u32, of: u32) {
        let load = load();
        if !self.json {
            if of > 1 {
                bowline_program::say!("\nrun {number} of {of}");
            }
            if let Some(load) = load.filter(|load| *load > BUSY) {
                bowline_program::say!(
                    "this machine is busy (load {load}): expect worse figures, the tails above all"
                );
            }
        }
        self.runs.push(Run {
            load,
            figures: Vec::new(),
        });
    }

    /// Adds the result of a figure, or its error, to the current run.
    pub(super) fn add(&mut self, figure: &Figure, measured: Outcome<Measured>) {
        let (measured, failed) = match measured {
            Ok(measured) => (Some(measured), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let entry = Entry {
            name: figure.name,
            title: figure.title,
            measured,
            failed,
        };
        if !self.json {
            bowline_program::say!("{}", tell(&entry));
        }
        if let Some(run) = self.runs.last_mut() {
            run.figures.push(entry);
        }
    }

    /// Ends the report.
    ///
    /// # Errors
    /// A figure could not be measured. A missed target is no error.
    pub(super) fn end(self) -> Outcome<()> {
        let spreads = spread::of(&self.runs);
        if self.json {
            /// The report with the summary of its runs.
            #[derive(Serialize)]
            struct Whole<'a> {
                #[serde(flatten)]
                report: &'a Report,
                spreads: Vec<Spread<'a>>,
            }
            let report = &self;
            bowline_program::say!("{}", serde_json::to_string(&Whole { report, spreads })?);
        } else {
            bowline_program::say!(
                "\n{}\n\n{}\n{}",
                self.verdict(),
                self.head(),
                spread::markdown(&spreads, self.runs.len())
            );
        }
        let failed = self.entries().filter(|entry| entry.failed.is_some());
        match failed.count() {
            0 => Ok(()),
            failed => Err(format!("{failed} figures could not be measured").into()),
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.runs.iter().flat_map(|run| &run.figures)
    }

    fn verdict(&self) -> String {
        let measured = self.entries().filter_map(|entry| entry.measured.as_ref());
        let met: Vec<bool> = measured
            .flat_map(|measured| &measured.rows)
            .filter_map(|row| row.met)
            .collect();
        let kept = met.iter().filter(|met| **met).count();
        format!("{kept} of {} targets met", met.len())
    }
}

/// A load above this means that other processes are running.
const BUSY: f64 = 0.7;

fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// One figure as text.
fn tell(entry: &Entry) -> String {
    let mut out = format!("\n{}: {}\n", entry.name, entry.title);
    if let Some(error) = &entry.failed {
        let _ = write!(out, "  not measured: {error}");
        return out;
    }
    let Some(measured) = &entry.measured else {
        return out;
    };
    let _ = writeln!(out, "  method: {}", measured.method);
    let head = ["  ", "median", "p99", "spread", "samples", "target", ""];
    let rows: Vec<Vec<Cell>> = measured.rows.iter().map(cells).collect();
    out.push_str(table(&head, &rows, false).trim_end());
    out
}

fn cells(row: &Row) -> Vec<Cell> {
    let (unit, summary) = (row.unit, &row.summary);
    let p99 = summary.p99.map_or("–".into(), |p99| unit.show(p99));
    let target = row.target.map(|target| target.show(unit));
    vec![
        match row.peer {
            Some(peer) => format!("  {}, to {peer}", row.what).into(),
            None => format!("  {}", row.what).into(),
        },
        unit.show(summary.median).into(),
        p99.into(),
        format!("{} – {}", unit.show(summary.low), unit.show(summary.high)).into(),
        format!("{} in {}", summary.samples, summary.repetitions).into(),
        target.unwrap_or_default().into(),
        match row.met {
            None => Cell::default(),
            Some(true) => "ok".into(),
            Some(false) => "MISSED".into(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        for value in values {
            samples.one(*value);
        }
        samples
    }

    #[test]
    fn a_target_is_met_or_missed() {
        for (target, values, met) in [
            (Target::AtMost(2.0), [1.0, 2.0, 9.0], true),
            (Target::AtMost(2.0), [1.0, 3.0, 9.0], false),
            (Target::AtLeast(2.0), [1.0, 2.0, 9.0], true),
            (Target::Exactly(1.0), [1.0, 1.0, 1.0], true),
            (Target::Exactly(1.0), [1.0, 1.0, 2.0], false),
            (Target::Tail(3.0), [1.0, 1.0, 1.0], false),
        ] {
            let summary = samples(&values).summary().unwrap();
            assert_eq!(target.met(&summary), met, "{target:?} {values:?}");
        }
    }

    #[test]
    fn values_are_shown_in_their_units() {
        assert_eq!(Unit::Micros.show(12.34), "12.3 µs");
        assert_eq!(Unit::Micros.show(1_234.0), "1.23 ms");
        assert_eq!(Unit::PerSecond.show(1_234_567.0), "1,234,567/s");
        assert_eq!(Unit::Bytes.show(10_240.0), "10.00 KiB");
        assert_eq!(Unit::Bytes.show(12_582_912.0), "12.00 MiB");
    }

    #[test]
    fn a_figure_is_told_with_method_target_and_verdict() {
        let measured = Measured::by("by hand".to_owned())
            .goal("it", Unit::Ratio, &samples(&[1.5]), Target::AtMost(1.25))
            .unwrap();
        let text = tell(&Entry::measured("x", measured));
        for part in ["method: by hand", "1.50×", "≤ 1.25×", "MISSED"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
