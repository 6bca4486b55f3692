//! Samples, and what is told of them.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Outcome;

/// Repetitions of a measurement, each with samples of one unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    repetitions: Vec<Vec<f64>>,
}

/// What is told of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// Of all samples.
    pub(super) median: f64,
    /// Of all samples; `None` where there are too few for one.
    pub(super) p99: Option<f64>,
    /// Smallest of the repetitions' medians.
    pub(super) low: f64,
    /// Largest of the repetitions' medians.
    pub(super) high: f64,
    /// How many samples.
    pub(super) samples: usize,
    /// In how many repetitions.
    pub(super) repetitions: usize,
}

/// Below this the 99th percentile would be little more than the largest sample.
const ENOUGH_FOR_P99: usize = 100;

impl Samples {
    /// Adds a repetition of several samples.
    pub(super) fn repetition(&mut self, samples: Vec<f64>) {
        self.repetitions.push(samples);
    }

    /// Adds a repetition of one sample.
    pub(super) fn one(&mut self, sample: f64) {
        self.repetitions.push(vec![sample]);
    }

    /// The median of each repetition.
    pub(super) fn medians(&self) -> Vec<f64> {
        self.repetitions
            .iter()
            .map(|samples| quantile(&sorted(samples.clone()), 0.5))
            .collect()
    }

    /// What is told of them.
    ///
    /// # Errors
    /// When there are none.
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

/// Ratios of two series measured in turns, repetition by repetition: what slows the machine down slows both.
pub(super) fn ratios(ours: &Samples, theirs: &Samples) -> Samples {
    let mut ratios = Samples::default();
    for (ours, theirs) in ours.medians().into_iter().zip(theirs.medians()) {
        ratios.one(ours / theirs);
    }
    ratios
}

fn sorted(mut samples: Vec<f64>) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    samples
}

/// The value at that share of a sorted series (nearest rank).
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

/// Microseconds since a moment.
pub(super) fn micros_since(start: Instant) -> f64 {
    micros(start.elapsed())
}

/// So many in that time, as a rate a second.
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
    }
}
