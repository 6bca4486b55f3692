//! Platforms without signals known here: nothing is ever asked.

use std::io;

use super::{Hangup, Signal};

/// Where requests would come from.
pub(super) struct Source;

impl Source {
    pub(super) fn arm(_: Hangup) -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn next(&mut self) -> Signal {
        std::future::pending().await
    }
}
