//! `GET /metrics`: the page of the daemon's metrics (SV-5, `docs/metrics.md`).
//!
//! All metrics are a fixed set of atomics in the modules that count, allocated at the start of the
//! daemon: counting is one relaxed addition, without a lock, a lookup or a label
//! (`docs/adr/0013-metrics.md`). Sums over connections and sessions are computed for each page:
//! [`page()`] writes it, [`bowline_program::metrics::serve`] serves it.

mod page;

pub use self::page::{Sources, page};
