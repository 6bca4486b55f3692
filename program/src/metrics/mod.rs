//! Metrics for Prometheus: a writer of its text format (exposition format 0.0.4), histograms, and
//! the listener that serves the page.
//!
//! A help text is one sentence: what is counted, and the unit where the name does not contain it.
//! Each program defines its own metrics and names.

mod endpoint;
mod histogram;

use std::fmt::{Display, Write};

pub use endpoint::serve;
pub use histogram::{COUNT_BOUNDS, Histogram, HistogramSnapshot, TIME_BOUNDS};

/// Media type of a metrics page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page being written.
#[derive(Debug, Default)]
pub struct Page(String);

/// One metric of a page; samples are added to it.
#[derive(Debug)]
pub struct Metric<'p> {
    page: &'p mut String,
    name: &'static str,
}

/// Labels of a sample: name and value.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

impl Page {
    /// Begins a counter.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.begin(name, "counter", help)
    }

    /// Begins a gauge.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.begin(name, "gauge", help)
    }

    /// Begins a histogram; [`Metric::distribution`] fills it.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.begin(name, "histogram", help)
    }

    fn begin(&mut self, name: &'static str, kind: &str, help: &str) -> Metric<'_> {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric {
            page: &mut self.0,
            name,
        }
    }

    /// The text of the page.
    pub fn finish(self) -> String {
        self.0
    }
}

impl Metric<'_> {
    /// Adds a sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, &value);
        self
    }

    /// Adds the buckets, the sum and the count of a histogram. Values are divided by `unit`.
    pub fn distribution(
        &mut self,
        labels: Labels<'_>,
        snapshot: &HistogramSnapshot,
        unit: f64,
    ) -> &mut Self {
        let mut total = 0;
        let mut bucket = |bound: &str, count: u64| {
            total += count;
            let labels = [labels, &[("le", bound)]].concat();
            self.line("_bucket", &labels, &total);
        };
        for (bound, count) in snapshot.bounds.iter().zip(&snapshot.counts) {
            bucket(&scaled(*bound, unit).to_string(), *count);
        }
        bucket("+Inf", snapshot.counts.last().copied().unwrap_or_default());
        self.line("_sum", labels, &scaled(snapshot.sum, unit));
        self.line("_count", labels, &snapshot.count());
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, value: &dyn Display) {
        let _ = write!(self.page, "{}{suffix}", self.name);
        for (n, (name, value)) in labels.iter().enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            let _ = write!(self.page, "{before}{name}=\"{}\"", escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.page, "{end} {value}");
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people and graphs")]
fn scaled(value: u64, unit: f64) -> f64 {
    value as f64 / unit
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_the_format_says() {
        let mut page = Page::default();
        page.counter("x_total", "Things.")
            .sample(&[("kind", "a\"b\\c\nd"), ("n", "1")], 7);
        page.gauge("y", "Now.").sample(&[], 1.5);
        let histogram = Histogram::new(&[1_000, 2_500]);
        for value in [1_000, 1_500, 9_000] {
            histogram.note(value);
        }
        page.histogram("z_seconds", "Times.").distribution(
            &[("m", "a")],
            &histogram.snapshot(),
            1e6,
        );
        assert_eq!(
            page.finish(),
            concat!(
                "# HELP x_total Things.\n# TYPE x_total counter\n",
                "x_total{kind=\"a\\\"b\\\\c\\nd\",n=\"1\"} 7\n",
                "# HELP y Now.\n# TYPE y gauge\ny 1.5\n",
                "# HELP z_seconds Times.\n# TYPE z_seconds histogram\n",
                "z_seconds_bucket{m=\"a\",le=\"0.001\"} 1\n",
                "z_seconds_bucket{m=\"a\",le=\"0.0025\"} 2\n",
                "z_seconds_bucket{m=\"a\",le=\"+Inf\"} 3\n",
                "z_seconds_sum{m=\"a\"} 0.0115\n",
                "z_seconds_count{m=\"a\"} 3\n",
            )
        );
    }
}
