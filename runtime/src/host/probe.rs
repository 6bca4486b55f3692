//! Probes: short-lived clients that measure a path and attach to nothing (INV-8).

use std::{future::poll_fn, time::Duration};

use bowline_protocol::{
    Purpose, Reason,
    limits::CONNECT_DEADLINE,
    methods::{Empty, name},
    rpc::{self, Incoming, Text},
};
use tokio::time::{Instant, timeout};

use crate::{client::Dialer, error::Failure};

/// Proves the path and measures one round trip over the sealed channel. The bound is that of a whole connect:
/// a path that is slow is still a path (lesson 9).
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
    let mut text = Vec::new();
    let written = rpc::write_notification(&mut text, name::SESSION_READY, &Empty {});
    let ready = written.is_ok() && link.queue(&text).is_ok();
    text.clear();
    let written = rpc::write_request(&mut text, 1, name::SYSTEM_PING, &Empty {});
    if !ready || written.is_err() || link.queue(&text).is_err() {
        return Err(Reason::ConnectionLost.into());
    }
    let start = Instant::now();
    poll_fn(|cx| link.poll_flush(cx))
        .await
        .map_err(Failure::from)?;
    let mut buffer = Vec::new();
    loop {
        let answer = poll_fn(|cx| match link.poll_recv(cx, &mut buffer) {
            std::task::Poll::Ready(Ok(text)) => std::task::Poll::Ready(Ok(is_answer(text))),
            std::task::Poll::Ready(Err(closed)) => std::task::Poll::Ready(Err(closed)),
            std::task::Poll::Pending => std::task::Poll::Pending,
        })
        .await
        .map_err(Failure::from)?;
        if answer {
            let rtt = start.elapsed();
            tokio::spawn(link.close(Reason::ClosedLocally));
            return Ok(rtt);
        }
    }
}

fn is_answer(text: &[u8]) -> bool {
    matches!(
        rpc::parse(text),
        Ok(Text::Single(Incoming::Response(response))) if response.id.as_u64() == Some(1)
    )
}
