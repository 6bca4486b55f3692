//! Probes: short-lived clients that measure a path without attaching (INV-8).

use std::time::Duration;

use bowline_protocol::{Purpose, Reason, limits::CONNECT_DEADLINE, methods::name};
use tokio::time::{Instant, timeout};

use crate::{client::Dialer, error::Failure};

/// Proves the path and measures one round trip over the sealed channel. The timeout is that of a
/// full connect: a slow path is still a path (LS-9).
///
/// # Errors
/// [`Failure`] with the closed reason.
pub(super) async fn probe(dialer: Dialer) -> Result<Duration, Failure> {
    timeout(CONNECT_DEADLINE, measure(dialer))
        .await
        .unwrap_or_else(|_| {
            Err(Failure::new(
                Reason::ConnectTimeout,
                "the probe took too long",
            ))
        })
}

async fn measure(dialer: Dialer) -> Result<Duration, Failure> {
    let (mut link, _) = dialer.dial(Purpose::Probe).await?;
    let start = Instant::now();
    // An error is an answer too.
    let _ = link.ask(name::SYSTEM_PING).await?;
    let rtt = start.elapsed();
    tokio::spawn(link.close(Reason::ClosedLocally));
    Ok(rtt)
}
