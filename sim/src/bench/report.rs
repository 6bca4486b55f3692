//! What was measured, for people or as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::{
    Outcome,
    figures::Figure,
    stats::{Samples, Summary},
};

/// What a row is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    /// Microseconds.
    Micros,
    /// A second.
    PerSecond,
    /// Bytes a second.
    BytesPerSecond,
    /// Bytes.
    Bytes,
    /// Times.
    Ratio,
    /// Just a number.
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
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

/// What a row's median (or, where said, its p99) must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    /// At most.
    AtMost(f64),
    /// At least.
    AtLeast(f64),
    /// Exactly.
    Exactly(f64),
    /// The p99 is at most so many times the median.
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

    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", unit.show(most)),
            Self::AtLeast(least) => format!("≥ {}", unit.show(least)),
            Self::Exactly(value) => format!("= {}", unit.show(value)),
            Self::Tail(times) => format!("p99 < {times:.0}× median"),
        }
    }
}

/// One line of a figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    what: String,
    unit: Unit,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// What one figure measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    method: String,
    rows: Vec<Row>,
}

impl Measured {
    /// Measured this way.
    pub(super) const fn by(method: String) -> Self {
        Self {
            method,
            rows: Vec::new(),
        }
    }

    /// Adds a line without a target: for comparison.
    ///
    /// # Errors
    /// When nothing was measured.
    pub(super) fn row(self, what: &str, unit: Unit, samples: &Samples) -> Outcome<Self> {
        self.push(what, unit, samples, None)
    }

    /// Adds a line with a target.
    ///
    /// # Errors
    /// When nothing was measured.
    pub(super) fn goal(
        self,
        what: &str,
        unit: Unit,
        samples: &Samples,
        target: Target,
    ) -> Outcome<Self> {
        self.push(what, unit, samples, Some(target))
    }

    fn push(
        mut self,
        what: &str,
        unit: Unit,
        samples: &Samples,
        target: Option<Target>,
    ) -> Outcome<Self> {
        let summary = samples.summary()?;
        self.rows.push(Row {
            what: what.to_owned(),
            unit,
            summary,
            target,
            met: target.map(|target| target.met(&summary)),
        });
        Ok(self)
    }
}

/// Everything measured in one run.
#[derive(Serialize)]
pub(super) struct Report {
    version: &'static str,
    system: String,
    quick: bool,
    /// Processes that wanted a core in the last minute, where the system tells: others than ours spoil figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<f64>,
    figures: Vec<Entry>,
    #[serde(skip)]
    json: bool,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    title: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    measured: Option<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

impl Report {
    /// A report, told as it grows unless it is to be JSON.
    pub(super) fn begin(json: bool, quick: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let report = Self {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{os} {arch}, {cores} cores"),
            quick,
            load: load(),
            figures: Vec::new(),
            json,
        };
        if !json {
            let quick = if quick { ", quick" } else { "" };
            bowline_program::say!("bowline {} on {}{quick}", report.version, report.system);
            if let Some(load) = report.load.filter(|load| *load > BUSY) {
                bowline_program::say!(
                    "this machine is busy (load {load}): expect worse figures, the tails above all"
                );
            }
        }
        report
    }

    /// Adds what a figure measured, or why it could not be.
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
        self.figures.push(entry);
    }

    /// Ends the report.
    ///
    /// # Errors
    /// When a figure could not be measured. A target that was missed is no error.
    pub(super) fn end(self) -> Outcome<()> {
        if self.json {
            bowline_program::say!("{}", serde_json::to_string(&self)?);
        } else {
            bowline_program::say!("\n{}", self.verdict());
        }
        match self
            .figures
            .iter()
            .filter(|entry| entry.failed.is_some())
            .count()
        {
            0 => Ok(()),
            failed => Err(format!("{failed} figures could not be measured").into()),
        }
    }

    fn verdict(&self) -> String {
        let rows = || {
            self.figures
                .iter()
                .filter_map(|entry| entry.measured.as_ref())
                .flat_map(|measured| &measured.rows)
        };
        let goals = rows().filter(|row| row.met.is_some()).count();
        let met = rows().filter(|row| row.met == Some(true)).count();
        format!("{met} of {goals} targets met")
    }
}

/// A load above this is other people's.
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
    let head = ["", "median", "p99", "spread", "samples", "target", ""].map(str::to_owned);
    let mut table = vec![head];
    for row in &measured.rows {
        let (unit, summary) = (row.unit, &row.summary);
        table.push([
            row.what.clone(),
            unit.show(summary.median),
            summary
                .p99
                .map_or_else(|| "–".to_owned(), |p99| unit.show(p99)),
            format!("{} – {}", unit.show(summary.low), unit.show(summary.high)),
            format!("{} in {}", summary.samples, summary.repetitions),
            row.target
                .map_or_else(String::new, |target| target.show(unit)),
            match row.met {
                None => String::new(),
                Some(true) => "ok".to_owned(),
                Some(false) => "MISSED".to_owned(),
            },
        ]);
    }
    out.push_str(&columns(&table));
    out
}

/// Lines with their cells under each other.
fn columns<const N: usize>(table: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in table {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for line in table {
        let mut text = String::from(" ");
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            // The first column is words, the others are numbers.
            let _ = if at == 0 {
                write!(text, " {cell}{pad}")
            } else {
                write!(text, "  {pad}{cell}")
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out.pop();
    out
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
        let text = tell(&Entry {
            name: "x",
            title: "X",
            measured: Some(measured),
            failed: None,
        });
        for part in ["method: by hand", "1.50×", "≤ 1.25×", "MISSED"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
