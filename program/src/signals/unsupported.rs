//! Platforms without supported signals: no request ever arrives.

use std::io;

use super::{Hangup, Signal};

/// The source of requests, always empty.
pub(super) struct Source;

impl Source {
    pub(super) fn arm(_: Hangup) -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) -> Signal {
        std::future::pending().await
    }
}
