//! Samples and their summary.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use super::Outcome;

/// Repetitions of a measurement, each with samples of one unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    repetitions: Vec<Vec<f64>>,
    warming_up: bool,
}

/// Summary of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// Of all samples.
    pub(super) median: f64,
    /// Of all samples; `None` if there are too few.
    pub(super) p99: Option<f64>,
    /// Smallest of the repetitions' medians.
    pub(super) low: f64,
    /// Largest of the repetitions' medians.
    pub(super) high: f64,
    /// Number of samples.
    pub(super) samples: usize,
    /// Number of repetitions.
    pub(super) repetitions: usize,
}

/// With fewer samples the 99th percentile would hardly differ from the maximum.
const ENOUGH_FOR_P99: usize = 100;

impl Samples {
    /// The first repetition warms up and is not counted.
    pub(super) const fn warming_up() -> Self {
        Self {
            repetitions: Vec::new(),
            warming_up: true,
        }
    }

    /// Adds a repetition of several samples.
    pub(super) fn repetition(&mut self, samples: Vec<f64>) {
        if !std::mem::take(&mut self.warming_up) {
            self.repetitions.push(samples);
        }
    }

    /// Adds a repetition of one sample.
    pub(super) fn one(&mut self, sample: f64) {
        self.repetition(vec![sample]);
    }

    /// The median of each repetition.
    pub(super) fn medians(&self) -> Vec<f64> {
        self.repetitions
            .iter()
            .map(|samples| quantile(&sorted(samples.clone()), 0.5))
            .collect()
    }

    /// Summarises the samples.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn summary(&self) -> Outcome<Summary> {
        let all = sorted(self.repetitions.concat());
        let medians = sorted(self.medians());
        let (Some(low), Some(high)) = (medians.first(), medians.last()) else {
            return Err("nothing was measured".into());
        };
        Ok(Summary {
            median: quantile(&all, 0.5),
            p99: (all.len() >= ENOUGH_FOR_P99).then(|| quantile(&all, 0.99)),
            low: *low,
            high: *high,
            samples: all.len(),
            repetitions: self.repetitions.len(),
        })
    }
}

/// Ratios of two series measured alternately, repetition by repetition, so that a slow machine
/// affects both. If the other series has fewer repetitions, its last one is reused. Empty if the
/// other series is empty.
pub(super) fn ratios(ours: &Samples, theirs: &Samples) -> Samples {
    let mut ratios = Samples::default();
    let theirs = theirs.medians();
    let rest = theirs.last().copied();
    for (ours, theirs) in ours
        .medians()
        .into_iter()
        .zip(theirs.into_iter().chain(rest.into_iter().cycle()))
    {
        ratios.one(ours / theirs);
    }
    ratios
}

fn sorted(mut samples: Vec<f64>) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    samples
}

/// The value at quantile `share` of a sorted series (nearest rank).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a series that is in memory"
    )]
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Microseconds since `start`.
pub(super) fn micros_since(start: Instant) -> f64 {
    micros(start.elapsed())
}

/// Acts `count` times, one after the other. The value is the time of each in microseconds. A macro,
/// so that actions may wait, fail and borrow.
macro_rules! timed {
    ($count:expr, $action:expr) => {{
        let mut samples = Vec::with_capacity($count);
        for _ in 0..$count {
            let start = std::time::Instant::now();
            let _held = $action;
            samples.push($crate::stats::micros_since(start));
        }
        samples
    }};
}
pub(super) use timed;

/// Makes `count` calls by `window` tasks, each one after the other. Returns the time of each call
/// in microseconds.
///
/// # Errors
/// The first error of a call.
pub(super) async fn calls<F: Future<Output = Outcome<()>> + Send>(
    count: usize,
    window: usize,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> Outcome<Vec<f64>> {
    let mut tasks = JoinSet::new();
    for n in 0..window {
        let call = call.clone();
        let share = share(count, window, n);
        tasks.spawn(async move { Outcome::Ok(timed!(share, call().await?)) });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(samples) = tasks.join_next().await {
        all.extend(samples??);
    }
    Ok(all)
}

/// The part of `count` calls that falls to task `n` of `window`.
pub(super) fn share(count: usize, window: usize, n: usize) -> usize {
    count / window + usize::from(n < count % window)
}

/// The rate per second of `count` in `time`.
pub(super) fn per_second(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_middle_tail_and_spread() {
        let mut samples = Samples::default();
        samples.repetition((1..=100).map(f64::from).collect());
        samples.repetition((11..=110).map(f64::from).collect());
        let summary = samples.summary().unwrap();
        assert_eq!((summary.samples, summary.repetitions), (200, 2));
        assert_eq!((summary.low, summary.high), (51.0, 61.0));
        assert_eq!(summary.median, 56.0);
        assert_eq!(summary.p99, Some(108.0));
    }

    #[test]
    fn too_few_samples_have_no_p99_and_none_no_summary() {
        let mut samples = Samples::default();
        assert!(samples.summary().is_err());
        samples.one(2.0);
        assert_eq!(samples.summary().unwrap().p99, None);
    }

    #[test]
    fn ratios_are_of_the_repetitions_measured_together() {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for (a, b) in [(2.0, 1.0), (30.0, 10.0)] {
            ours.one(a);
            theirs.one(b);
        }
        assert_eq!(ratios(&ours, &theirs).medians(), [2.0, 3.0]);
        ours.one(50.0);
        assert_eq!(ratios(&ours, &theirs).medians(), [2.0, 3.0, 5.0]);
        assert!(ratios(&ours, &Samples::default()).medians().is_empty());
    }
}
