//! Pairing: a device proves the offer, and the daemon's owner says yes (TR-3). Every address of the
//! offer is tried at once; they are one request to the daemon, with one code.

use bowline_protocol::{
    DeviceId, Offer, PublicKey, Purpose, Reason,
    handshake::PairingHello,
    identity::{OfferId, PairingSecret, PresharedKey, pairing_code, random_bytes},
    limits::{CONNECT_DEADLINE, PAIRING_TTL},
    methods::{Empty, PairingAsked, name},
    rpc::{self, Incoming, Text},
};
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at},
};

use crate::{
    client::Dialer,
    error::{Failure, PairError},
    snapshot::{Pairing, SnapshotHub},
    transport::{Address, link::Link},
};

/// First and longest delay before retrying an address that refused without proof or temporarily.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Answers in a row that do not open before the daemon counts as another one.
const MAX_UNOPENED: u32 = 3;
/// Longest time without any contact to the daemon after it has asked its owner: the usual life of
/// an offer.
const LOST: Duration = PAIRING_TTL;

/// A completed pairing.
pub(crate) struct Paired {
    /// The daemon's name.
    pub(crate) name: String,
    /// The key shared with it from now on.
    pub(crate) psk: PresharedKey,
}

/// What all attempts of one pairing have in common.
#[derive(Clone)]
struct Attempt {
    hello: PairingHello,
    offer_key: PresharedKey,
    shown: Arc<Pairing>,
}

impl Attempt {
    /// Shows the code, and that the owner is asked.
    fn show(&self, device: &PublicKey, asked: &PairingAsked) {
        let secret = &self.hello.secret;
        let code = pairing_code(&self.offer_key, device, secret, &asked.nonce);
        self.shown.show(&code);
        tracing::info!(device = %DeviceId::of_public_key(device), "asked to pair");
    }
}

/// Tries every address concurrently, until the daemon has paired this device or refused it.
pub(crate) async fn pair(
    offer: &Offer,
    dialers: Vec<(Address, Dialer)>,
    hub: &Arc<SnapshotHub>,
) -> Result<Paired, PairError> {
    if dialers.is_empty() {
        return Err(PairError::NoPath);
    }
    let secret = random_bytes().map_err(|error| PairError::Internal(error.to_string()))?;
    let secret = PairingSecret::from_bytes(secret);
    let offer_key = PresharedKey::of_offer(&offer.token);
    let psk = PresharedKey::of_device(&offer_key, &secret);
    let attempt = Attempt {
        hello: PairingHello {
            offer: OfferId::of_token(&offer.token),
            secret,
        },
        offer_key,
        shown: Arc::new(hub.begin_pairing(&offer.server_id, &offer.name)),
    };
    let mut attempts = JoinSet::new();
    for (address, mut dialer) in dialers {
        dialer.pairing = Some(attempt.hello.clone());
        dialer.credentials.psk = attempt.offer_key.clone();
        attempts.spawn(persist(address, dialer, attempt.clone()));
    }
    let mut wrong_key = None;
    let mut unreachable = None;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(name)) => return Ok(Paired { name, psk }),
            // The other attempts are the same request to the same daemon.
            Ok(Err(failure)) if is_the_daemons_word(&failure) => {
                return Err(PairError::Refused(failure));
            }
            Ok(Err(failure)) if is_another_daemon(failure.reason) => wrong_key = Some(failure),
            Ok(Err(failure)) => unreachable = Some(failure),
            Err(error) => tracing::error!(%error, "an attempt to pair ended by a defect"),
        }
    }
    Err(match wrong_key {
        Some(failure) => PairError::AnotherKey(failure),
        None => PairError::Unreachable(unreachable.unwrap_or(Reason::Unreachable.into())),
    })
}

/// Pairs over one dialer and returns the new key, for tools that hold their own dialers.
///
/// # Errors
/// [`PairError`] as in [`crate::Runtime::pair`].
pub async fn pair_with(offer: &Offer, dialer: &Dialer) -> Result<PresharedKey, PairError> {
    let dialers = vec![(dialer.target.address.clone(), dialer.clone())];
    let hub = Arc::new(SnapshotHub::new());
    Ok(pair(offer, dialers, &hub).await?.psk)
}

const fn is_another_daemon(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::CryptoFailed | Reason::ServerIdentityMismatch
    )
}

/// Whether the daemon itself refused, for good.
fn is_the_daemons_word(failure: &Failure) -> bool {
    failure.unproved.is_none()
        && !failure.reason.is_recoverable()
        && !is_another_daemon(failure.reason)
}

/// What one address has led to so far.
struct Tries {
    /// No further dial begins after this time.
    deadline: Instant,
    pause: Duration,
    /// Whether a welcome of the daemon has opened here.
    is_proven: bool,
    /// Whether the daemon has asked its owner.
    is_asked: bool,
    /// Answers in a row that did not open under the offer's keys.
    unopened: u32,
}

impl Tries {
    /// Whether another try may end differently. What does not open may be forged by the path, as an
    /// unproved refusal may, so both are tried again (TR-2). A full disk or a restart passes, and
    /// neither uses the offer up.
    fn may_pass(&mut self, failure: &Failure) -> bool {
        self.unopened = match failure.reason {
            Reason::CryptoFailed => self.unopened + 1,
            _ => 0,
        };
        match failure.reason {
            Reason::ServerIdentityMismatch => false,
            Reason::CryptoFailed => self.is_proven || self.unopened < MAX_UNOPENED,
            Reason::StorageUnavailable | Reason::SessionChanged | Reason::ServerRestarting => true,
            _ if is_the_daemons_word(failure) => false,
            _ => failure.unproved.is_some() || self.is_asked,
        }
    }
}

/// Tries one address until it is decided: until the connect timeout, or for as long as the daemon's
/// owner may take once the daemon has asked.
async fn persist(address: Address, dialer: Dialer, attempt: Attempt) -> Result<String, Failure> {
    let mut tries = Tries {
        deadline: Instant::now() + CONNECT_DEADLINE,
        pause: FIRST_PAUSE,
        is_proven: false,
        is_asked: false,
        unopened: 0,
    };
    let mut told = None;
    loop {
        let dial_until = tries.deadline.min(Instant::now() + CONNECT_DEADLINE);
        let failure = match timeout_at(dial_until, dialer.dial(Purpose::Pairing)).await {
            Ok(Ok((link, accepted))) => {
                tries.is_proven = true;
                tries.pause = FIRST_PAUSE;
                let heartbeat = Duration::from_millis(u64::from(accepted.heartbeat_ms.max(1)));
                let device = dialer.credentials.device_key.public();
                let asked = |asked: PairingAsked| {
                    tries.is_asked = true;
                    attempt.show(&device, &asked);
                };
                match answered(link, heartbeat, asked).await {
                    Ok(()) => return Ok(accepted.server_name),
                    Err(failure) => {
                        if tries.is_asked {
                            tries.deadline = Instant::now() + LOST;
                        }
                        failure
                    }
                }
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::new(Reason::ConnectTimeout, "no answer in time"),
        };
        if !tries.may_pass(&failure) {
            return Err(explained(failure, &address));
        }
        if Instant::now() + tries.pause >= tries.deadline {
            let failure = match failure.reason {
                // The last word of the daemon says more than silence after it.
                Reason::ConnectTimeout => told.unwrap_or(failure),
                _ => failure,
            };
            return Err(explained(failure, &address));
        }
        told = Some(failure);
        sleep(tries.pause).await;
        tries.pause = (tries.pause * 2).min(LONGEST_PAUSE);
    }
}

fn explained(failure: Failure, address: &Address) -> Failure {
    if !is_another_daemon(failure.reason) {
        return failure;
    }
    let message =
        format!("the daemon at {address} is not the one that made this offer: its key differs");
    Failure { message, ..failure }
}

/// Proves the token and waits for the owner's answer. Pings as a session does, so that a dead path
/// is noticed.
async fn answered(
    mut link: Link,
    heartbeat: Duration,
    mut asked: impl FnMut(PairingAsked),
) -> Result<(), Failure> {
    let mut text = Vec::new();
    let lost = || Failure::from(Reason::ConnectionLost);
    rpc::write_notification(&mut text, name::SESSION_READY, &Empty {}).map_err(|_| lost())?;
    link.queue(&text).map_err(Failure::from)?;
    let mut ticks = interval_at(Instant::now() + heartbeat, heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unanswered = 0;
    let mut buffer = Vec::new();
    loop {
        poll_fn(|cx| link.poll_flush(cx))
            .await
            .map_err(Failure::from)?;
        tokio::select! {
            said = receive(&mut link, &mut buffer) => {
                unanswered = 0;
                match said? {
                    Said::Asked(nonce) => asked(nonce),
                    Said::Approved => {
                        tokio::spawn(link.close(Reason::ClosedLocally));
                        return Ok(());
                    }
                    Said::Other => {}
                }
            }
            _ = ticks.tick() => {
                if unanswered == 2 {
                    return Err(Reason::HeartbeatTimeout.into());
                }
                unanswered += 1;
                text.clear();
                rpc::write_request(&mut text, unanswered, name::SYSTEM_PING, &Empty {})
                    .map_err(|_| lost())?;
                link.queue(&text).map_err(Failure::from)?;
            }
        }
    }
}

/// What a text of the daemon says about the pairing.
enum Said {
    Asked(PairingAsked),
    Approved,
    Other,
}

impl Said {
    fn read(text: &[u8]) -> Self {
        match rpc::parse(text) {
            Ok(Text::Single(Incoming::Notification(one))) => match &*one.method {
                name::PAIRING_APPROVED => Self::Approved,
                name::PAIRING_ASKED => {
                    let params = one.params.map_or("null", |params| params.get());
                    serde_json::from_str(params).map_or(Self::Other, Self::Asked)
                }
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// The next text.
async fn receive(link: &mut Link, buffer: &mut Vec<u8>) -> Result<Said, Failure> {
    poll_fn(|cx| match link.poll_recv(cx, buffer) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(closed)) => Poll::Ready(Err(closed.into())),
        Poll::Ready(Ok(text)) => Poll::Ready(Ok(Said::read(text))),
    })
    .await
}
