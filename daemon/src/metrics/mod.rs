//! Measures: what the daemon counts of itself, and the page that shows it (SV-5, `docs/metrics.md`).
//!
//! Everything is a fixed set of atomics, laid out when the daemon starts: counting is one relaxed addition, without
//! a lock, a look-up or a label (`docs/adr/0013-metrics.md`). Sums over connections and sessions are
//! made when somebody asks.
//!
//! * [`MethodStats`] and [`Histogram`] are what is counted in
//! * [`text`] writes the exposition format, [`page`] fills it, [`Endpoint`] serves it

mod endpoint;
mod histogram;
mod page;
mod requests;
mod text;

pub use self::{
    endpoint::Endpoint,
    histogram::{Histogram, HistogramSnapshot},
    page::page,
    requests::{MethodStats, OUTCOMES, Outcome, RequestStats},
};

/// Bounds of histograms of time, in microseconds.
pub const TIME_BOUNDS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    10_000_000,
];

/// Bounds of histograms of counts.
pub const COUNT_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];
