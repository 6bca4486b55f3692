//! Pairing: the host of an offer is kept only after its daemon proved its identity (BX-3, lesson 10).

use bowline_protocol::{
    Purpose, Reason,
    limits::CONNECT_DEADLINE,
    methods::{Empty, SystemInfo, name},
    rpc::{self, Incoming, Text},
};
use std::{future::poll_fn, task::Poll, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    client::Dialer,
    error::{Failure, PairError},
    transport::{Address, link::Link},
};

/// Pauses before an address that refused without proof, or for now, is tried again: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Tries every address at once; the first that proves the daemon and takes the token wins. The daemon's
/// name comes back.
///
/// The token is used up by the first attach. An address that comes second is then refused for the token
/// or accepted as the device that just paired: either way the pairing stands.
pub(crate) async fn pair(dialers: Vec<(Address, Dialer)>) -> Result<String, PairError> {
    if dialers.is_empty() {
        return Err(PairError::NoPath);
    }
    let mut attempts = JoinSet::new();
    for (address, dialer) in dialers {
        attempts.spawn(persist(address, dialer));
    }
    let mut refused = None;
    let mut wrong_key = None;
    let mut unreachable = None;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(name)) => return Ok(name),
            // An answer from the daemon itself says more than a dead address.
            Ok(Err(failure)) if !failure.reason.is_recoverable() => refused = Some(failure),
            Ok(Err(failure)) if failure.reason == Reason::CryptoFailed => wrong_key = Some(failure),
            Ok(Err(failure)) => unreachable = Some(failure),
            Err(error) => tracing::error!(%error, "an attempt to pair ended by a defect"),
        }
    }
    Err(match (refused, wrong_key, unreachable) {
        (Some(failure), ..) => PairError::Refused(failure),
        (None, Some(failure), _) => PairError::AnotherKey(failure),
        (None, None, failure) => {
            PairError::Unreachable(failure.unwrap_or(Reason::Unreachable.into()))
        }
    })
}

/// Tries one address until it is decided, within the deadline of a connect: a refusal that nothing proves may be anybody's, so
/// it is tried again (TR-2), and so is one that may pass.
async fn persist(address: Address, dialer: Dialer) -> Result<String, Failure> {
    let deadline = Instant::now() + CONNECT_DEADLINE;
    let mut pause = FIRST_PAUSE;
    let mut told = None;
    loop {
        let attempt = timeout_at(deadline, attach(dialer.clone())).await;
        let failure = match attempt {
            Ok(Ok(name)) => return Ok(name),
            Ok(Err(failure)) => failure,
            Err(_) => {
                let silence = || Failure::new(Reason::ConnectTimeout, "no answer in time");
                return Err(told.unwrap_or_else(silence));
            }
        };
        if failure.reason == Reason::CryptoFailed {
            let message = format!(
                "the daemon at {address} is not the one that made this offer: its key differs"
            );
            return Err(Failure { message, ..failure });
        }
        // A full disk or a restart may pass, and the token is not used up by either.
        let may_pass = matches!(
            failure.reason,
            Reason::StorageUnavailable | Reason::SessionChanged | Reason::ServerRestarting
        );
        let is_final = failure.unproved.is_none() && !may_pass;
        if is_final || Instant::now() + pause >= deadline {
            return Err(failure);
        }
        told = Some(failure);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Attaches with the token and asks who answers: the reply proves that the attach is done.
async fn attach(dialer: Dialer) -> Result<String, Failure> {
    let (mut link, accepted) = dialer.dial(Purpose::Session).await?;
    let mut text = Vec::new();
    let lost = || Failure::from(Reason::ConnectionLost);
    rpc::write_notification(&mut text, name::SESSION_READY, &Empty {}).map_err(|_| lost())?;
    link.queue(&text).map_err(Failure::from)?;
    text.clear();
    rpc::write_request(&mut text, 1, name::SYSTEM_INFO, &Empty {}).map_err(|_| lost())?;
    link.queue(&text).map_err(Failure::from)?;
    poll_fn(|cx| link.poll_flush(cx))
        .await
        .map_err(Failure::from)?;
    let info = receive_info(&mut link).await?;
    tokio::spawn(link.close(Reason::ClosedLocally));
    Ok(info.map_or(accepted.server_name, |info| info.name))
}

/// Waits for the answer to request 1; events may come before it.
async fn receive_info(link: &mut Link) -> Result<Option<SystemInfo>, Failure> {
    let mut buffer = Vec::new();
    poll_fn(|cx| {
        loop {
            match link.poll_recv(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(closed)) => return Poll::Ready(Err(closed.into())),
                Poll::Ready(Ok(text)) => {
                    if let Ok(Text::Single(Incoming::Response(response))) = rpc::parse(text)
                        && response.id.as_u64() == Some(1)
                    {
                        let info = response.outcome.ok();
                        return Poll::Ready(Ok(
                            info.and_then(|raw| serde_json::from_str(raw.get()).ok())
                        ));
                    }
                }
            }
        }
    })
    .await
}
