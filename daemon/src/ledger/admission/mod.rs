//! Hellos and attaches: which device may use which session, and where it resumes.
//!
//! `admit` checks a hello and only reads. `attach` runs at `session.ready` and checks everything
//! again, since the state may have changed in between.

mod attach;

use bowline_machines::daemon::session::{AttachPlan, ReplayWindow};
use bowline_protocol::{
    Epoch, ExternalSessionKey, Grant, Hello, PublicKey, Purpose, Reason, Refusal, RpcReason,
    SessionState, Stamp,
    error::RpcError,
    handshake::SessionWelcome,
    identity::{KeyId, PresharedKey},
};
use uuid::Uuid;

use super::{
    core::Core,
    live::{Durable, LiveSession},
    pairing::Checked,
    types::{Admission, Promise, SealedRefusal},
};
use crate::store::{self, fault};

/// Retry delay in milliseconds for a client refused for lack of capacity.
const RETRY_MS: u64 = 1_000;

/// Maps a failure of the store or the queue to a refusal that the client retries.
pub(super) fn refused(error: &RpcError) -> Refusal {
    let reason = match error.reason() {
        Some(RpcReason::Overloaded) => Reason::RateLimited,
        Some(RpcReason::StorageUnavailable) => Reason::StorageUnavailable,
        _ => Reason::ServerRestarting,
    };
    Refusal {
        retry_after_ms: Some(RETRY_MS),
        ..Refusal::new(reason, error.message.clone())
    }
}

/// The refusal while the daemon is locked.
pub(super) const LOCKED: (Reason, &str) = (
    Reason::DaemonLocked,
    "the owner of this machine has locked the daemon; `unlock` there ends that",
);

/// How a device stands: the key to answer it under, and what it may do.
pub(super) struct Standing {
    psk: PresharedKey,
    /// Whether the key is that of its last pairing, and the one before is still known.
    replaces: bool,
    pub(super) outcome: Result<Grant, Refusal>,
}

fn overtaken() -> Refusal {
    Refusal::new(
        Reason::SessionChanged,
        "the session has changed since the welcome; connect again",
    )
}

impl Core {
    /// Plans an attach. Only reads.
    pub(super) fn admit(
        &self,
        device: PublicKey,
        hello: Hello,
    ) -> Result<Admission, SealedRefusal> {
        let key = hello.client_session_key.external();
        let (psk, outcome) = match &hello.pairing {
            Some(pairing) => {
                let Checked { psk, outcome } = self.check_pairing(&device, pairing);
                (psk, outcome.map(|_| None))
            }
            None => {
                let Standing { psk, outcome, .. } = self.check(&device, hello.key, &key);
                (psk, outcome.map(Some))
            }
        };
        let grant = match outcome {
            Ok(grant) => grant,
            Err(refusal) => return Err(SealedRefusal { refusal, psk }),
        };
        let promise = match (hello.purpose, self.live.by_key(&key)) {
            (Purpose::Pairing, _) => Promise::Pairing,
            (Purpose::Probe, _) => Promise::Probe,
            (Purpose::Session, None) => Promise::New { epoch: new_epoch() },
            (Purpose::Session, Some((id, session, durable))) => {
                let resume = hello.resume.as_ref();
                let stamp = resume.and_then(|resume| resume.stamp.as_ref());
                let shared_to = self.starts.shared_to(stamp, &durable.log);
                let window = ReplayWindow {
                    shared_to,
                    ..window(session, durable)
                };
                let plan = durable.machine.plan_attach(hello.resume.as_ref(), &window);
                Promise::Known {
                    id,
                    plan,
                    window,
                    epoch: new_epoch(),
                }
            }
        };
        Ok(Admission {
            psk,
            welcome: promise.welcome(self.starts.stamp()),
            grant: grant.filter(|_| hello.purpose == Purpose::Session),
            device,
            hello,
            promise,
        })
    }

    /// Checks the device of a planned attach again, as it stands now.
    pub(super) fn check_again(&self, admission: &Admission) -> Standing {
        let key = admission.hello.client_session_key.external();
        self.check(&admission.device, admission.hello.key, &key)
    }

    /// Checks that the device may use the session.
    fn check(
        &self,
        device: &PublicKey,
        named: Option<KeyId>,
        key: &ExternalSessionKey,
    ) -> Standing {
        let refused_as = |psk, refusal| Standing {
            psk,
            replaces: false,
            outcome: Err(refusal),
        };
        let known = match store::devices::standing(&self.conn, device) {
            Ok(known) => known,
            Err(error) => return refused_as(PresharedKey::NONE, refused(&fault(error))),
        };
        let known = known.and_then(|device| {
            let mut keys = device.keys.iter().enumerate();
            // A device that lost its key may pair again.
            let (at, psk) = keys.find(|(_, known)| Some(known.id()) == named)?;
            let replaces = at == 0 && keys.next().is_some();
            Some((psk.clone(), replaces, device))
        });
        let Some((psk, replaces, known)) = known else {
            let refusal = Refusal::new(
                Reason::DeviceUnknown,
                "this device is not paired with the daemon",
            );
            return refused_as(PresharedKey::NONE, refusal);
        };
        let (now, lived) = (self.options.clock.unix_millis(), self.lived.now());
        let reason = match self.live.by_key(key) {
            _ if known.is_revoked || self.live.revoked.contains(device) => {
                Some((Reason::DeviceRevoked, "this device was revoked"))
            }
            _ if known.is_expired(now, lived) => Some((
                Reason::DeviceExpired,
                "this device was paired for a limited time, which is over",
            )),
            _ if self.live.locked_at.is_some() => Some(LOCKED),
            Some((_, _, durable)) if durable.device != *device => Some((
                Reason::SessionKeyConflict,
                "the session key belongs to another device",
            )),
            Some(_) | None => None,
        };
        let outcome = match reason {
            Some((reason, message)) => Err(Refusal::new(reason, message)),
            None => Ok(known.grant),
        };
        Standing {
            psk,
            replaces,
            outcome,
        }
    }
}

impl Promise {
    fn welcome(&self, stamp: &Stamp) -> Option<SessionWelcome> {
        use SessionState::{New, Reset, Resumed};
        let (state, epoch, next_seq) = match self {
            Self::Probe | Self::Pairing => return None,
            Self::New { epoch } => (New, epoch, 1),
            Self::Known {
                plan,
                window,
                epoch,
                ..
            } => match plan {
                AttachPlan::New => (New, epoch, 1),
                AttachPlan::Resumed { .. } => (Resumed, &window.epoch, window.next_seq),
                AttachPlan::Reset { keep_epoch: true } => (Reset, &window.epoch, window.next_seq),
                AttachPlan::Reset { keep_epoch: false } => (Reset, epoch, 1),
            },
        };
        Some(SessionWelcome {
            state,
            epoch: epoch.clone(),
            next_seq,
            stamp: Some(stamp.clone()),
        })
    }
}

fn window(session: &LiveSession, durable: &Durable) -> ReplayWindow {
    ReplayWindow {
        epoch: durable.epoch.clone(),
        first_seq: durable.log.first_seq(),
        next_seq: session.next_seq,
        shared_to: session.next_seq,
    }
}

fn new_epoch() -> Epoch {
    Epoch::from_uuid(Uuid::now_v7())
}
