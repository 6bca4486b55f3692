//! Hellos, attaches, revocation: who may hold which session, and from where it goes on.
//!
//! A hello only reads (`admit`). What it was promised is done at `session.ready` (`attach`), after
//! everything was checked again: between the two the world may have moved on.

use bowline_machines::session::{AttachPlan, ConnectionId, Input, ReplayWindow, Session};
use bowline_protocol::{
    Epoch, ExternalSessionKey, Hello, PublicKey, Purpose, Reason, Refusal, RpcReason, SessionState,
    Stamp, error::RpcError, handshake::SessionWelcome, offer::PairingToken,
};
use uuid::Uuid;

use super::{
    core::Core,
    counters::count,
    live::{Durable, LiveSession, Pending},
    replay::ReplayLog,
    types::{Admission, Promise, SessionRef},
};
use crate::{
    outbound::{ConnectionHandle, Frame},
    store::{self, fault},
};

/// How long a client waits after a refusal for want of capacity, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// What an attach has done.
pub(super) struct Joined {
    pub(super) session: SessionRef,
    pub(super) replay: Vec<Frame>,
}

/// A failure of the store or of the queue, as a refusal that the client waits out.
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

fn overtaken() -> Refusal {
    Refusal::new(
        Reason::SessionChanged,
        "the session has changed since the welcome; connect again",
    )
}

impl Core {
    /// Plans an attach. Reads only.
    pub(super) fn admit(&self, device: PublicKey, hello: Hello) -> Result<Admission, Refusal> {
        let key = hello.client_session_key.external();
        let pairing = self.check(&device, &hello, &key)?;
        if pairing.is_some() && self.health.is_failing() {
            return Err(Refusal::new(
                Reason::StorageUnavailable,
                "the daemon's disk takes nothing, and a pairing has to be written down; free some space on its machine",
            ));
        }
        let promise = match (hello.purpose, self.live.by_key(&key)) {
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
            welcome: promise.welcome(self.starts.stamp()),
            device,
            hello,
            promise,
        })
    }

    /// Does what was promised. Everything is decided and stored before memory changes.
    pub(super) fn attach(
        &mut self,
        admission: &Admission,
        connection: &ConnectionHandle,
    ) -> Result<Joined, Refusal> {
        if let Some(reason) = connection.outbound.close_reason() {
            return Err(Refusal::new(reason, "the connection has ended"));
        }
        let key = admission.hello.client_session_key.external();
        let pairing = self.check(&admission.device, &admission.hello, &key)?;
        let (id, after) = match &admission.promise {
            // Handled before it comes here; a probe attaches to nothing (INV-8).
            Promise::Probe => return Err(overtaken()),
            Promise::New { epoch } => (self.begin(admission, &key, epoch, pairing)?, 0),
            Promise::Known {
                id,
                plan,
                window: planned,
                epoch,
            } => {
                let after = self.go_on(admission, *id, *plan, planned, epoch, pairing)?;
                (*id, after)
            }
        };
        self.join(id, connection);
        let Some(session) = self.live.sessions.get(&id) else {
            return Err(overtaken());
        };
        let replay = session
            .durable
            .as_ref()
            .map(|durable| durable.log.frames_after(after))
            .unwrap_or_default();
        let session = session.reference.clone();
        count(&self.counters.attaches);
        Ok(Joined { session, replay })
    }

    /// Whether the device may hold the session. Tells the token to use up, if it takes one.
    fn check(
        &self,
        device: &PublicKey,
        hello: &Hello,
        key: &ExternalSessionKey,
    ) -> Result<Option<[u8; 32]>, Refusal> {
        let failed = |error| refused(&fault(error));
        let standing = store::devices::revoked(&self.conn, device).map_err(failed)?;
        let pairing = match (standing, &hello.pairing_token) {
            // A paired device that offers a token again has not heard that it worked.
            (Some(false), _) => None,
            (None, None) => {
                return Err(Refusal::new(
                    Reason::DeviceUnknown,
                    "this device is not paired with the daemon",
                ));
            }
            (Some(true), None) => {
                return Err(Refusal::new(
                    Reason::DeviceRevoked,
                    "this device's pairing was withdrawn",
                ));
            }
            (None | Some(true), Some(token)) => Some(self.check_token(token)?),
        };
        match self.live.by_key(key) {
            Some((_, _, durable)) if durable.device != *device => Err(Refusal::new(
                Reason::SessionKeyConflict,
                "the session key belongs to another device",
            )),
            Some(_) | None => Ok(pairing),
        }
    }

    fn check_token(&self, token: &str) -> Result<[u8; 32], Refusal> {
        let invalid = || {
            Refusal::new(
                Reason::PairingTokenInvalid,
                "the pairing token was used, has expired or never existed",
            )
        };
        let digest = token
            .parse::<PairingToken>()
            .map_err(|_| invalid())?
            .digest();
        match store::devices::pairing_valid(&self.conn, &digest, self.lived.now()) {
            Ok(true) => Ok(digest),
            Ok(false) => Err(invalid()),
            Err(error) => Err(refused(&fault(error))),
        }
    }

    /// Begins a session.
    fn begin(
        &mut self,
        admission: &Admission,
        key: &ExternalSessionKey,
        epoch: &Epoch,
        pairing: Option<[u8; 32]>,
    ) -> Result<i64, Refusal> {
        if self.live.by_key(key).is_some() {
            return Err(overtaken());
        }
        self.make_room()?;
        let now = self.options.clock.unix_millis();
        let id = self.live.next_session;
        let stored = self.transact(|conn| {
            pair(conn, admission, pairing, now)?;
            // A row is left over only if its deletion failed.
            let key = key.as_str();
            store::sessions::delete_key(conn, key)?;
            store::sessions::insert(conn, id, key, &admission.device, epoch.as_str(), now)
        });
        let is_stored = told(stored, pairing.is_some())?;
        self.live.next_session = id.saturating_add(1);
        self.live.insert(LiveSession {
            reference: SessionRef::new(id, key.as_str()),
            next_seq: 1,
            links: Vec::new(),
            subscriptions: std::collections::BTreeSet::new(),
            durable: Some(Box::new(Durable {
                key: key.clone(),
                device: admission.device,
                epoch: epoch.clone(),
                machine: Session::new(self.live.config, self.options.clock.now()),
                log: ReplayLog::new(),
                created_at: now,
                last_seen_at: now,
                detached_at: None,
                attached_at: None,
                unsaved: false,
                untrimmed: false,
                pending: (!is_stored).then_some(Pending::Begun),
                unsaved_topics: false,
            })),
        });
        Ok(id)
    }

    /// Resumes or resets a session; tells the cursor the client goes on from.
    fn go_on(
        &mut self,
        admission: &Admission,
        id: i64,
        plan: AttachPlan,
        planned: &ReplayWindow,
        epoch: &Epoch,
        pairing: Option<[u8; 32]>,
    ) -> Result<u64, Refusal> {
        let Some(session) = self.live.sessions.get(&id) else {
            return Err(overtaken());
        };
        let Some(durable) = &session.durable else {
            return Err(overtaken());
        };
        durable
            .machine
            .confirm(plan, planned, &window(session, durable))
            .map_err(|reason| Refusal {
                reason,
                ..overtaken()
            })?;
        let (after, fresh) = match plan {
            AttachPlan::Resumed { after } => (after, false),
            AttachPlan::Reset { keep_epoch: true } => (planned.next_seq.saturating_sub(1), false),
            AttachPlan::New | AttachPlan::Reset { keep_epoch: false } => (0, true),
        };
        if !fresh && pairing.is_none() {
            return Ok(after);
        }
        let now = self.options.clock.unix_millis();
        let stored = self.transact(|conn| {
            pair(conn, admission, pairing, now)?;
            if fresh {
                store::sessions::reset(conn, id, epoch.as_str(), now)?;
            }
            Ok(())
        });
        let is_stored = told(stored, pairing.is_some())?;
        if fresh && let Some(session) = self.live.sessions.get_mut(&id) {
            session.next_seq = 1;
            if let Some(durable) = &mut session.durable {
                durable.epoch = epoch.clone();
                durable.log.clear(&mut self.live.dead_events);
                durable.log = ReplayLog::new();
                if is_stored {
                    // A session that had not been stored when it began is one that the store does not know still.
                    durable.pending = durable.pending.filter(|it| *it == Pending::Begun);
                } else {
                    durable.pending.get_or_insert(Pending::Reset);
                }
            }
            self.put_off();
        }
        Ok(after)
    }

    /// Lets a connection hold a session.
    fn join(&mut self, id: i64, connection: &ConnectionHandle) {
        let now = self.options.clock.now();
        let Some(session) = self.live.sessions.get(&id) else {
            return;
        };
        let active: Vec<_> = session
            .links
            .iter()
            .map(|link| (ConnectionId(link.id), link.outbound.last_active()))
            .collect();
        self.live.drive(id, |machine| {
            for (connection, at) in active {
                machine.handle(at, Input::Activity { connection });
            }
            machine.handle(
                now,
                Input::Attach {
                    connection: ConnectionId(connection.id),
                    path: connection.path,
                },
            );
        });
        if let Some(session) = self.live.sessions.get_mut(&id) {
            session.links.push(connection.clone());
            if let Some(durable) = &mut session.durable {
                durable.attached_at.get_or_insert(now);
            }
        }
        self.note_seen(id);
    }

    /// At the bound of sessions the one detached longest is forgotten.
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.live.sessions.len() < self.options.max_sessions {
            return Ok(());
        }
        let oldest = self
            .live
            .sessions
            .iter()
            .filter_map(|(id, session)| {
                let durable = session.durable.as_ref()?;
                durable.machine.detached_since().map(|since| (since, *id))
            })
            .min();
        match oldest {
            Some((_, id)) => {
                self.forget(&[id]);
                Ok(())
            }
            None => Err(Refusal {
                retry_after_ms: Some(RETRY_MS),
                ..Refusal::new(
                    Reason::SessionCapacity,
                    "the daemon has as many sessions as it can hold",
                )
            }),
        }
    }

    /// Revokes a device: its sessions end and its connections are cut at once (lesson 18).
    pub(super) fn revoke(&mut self, device: &bowline_protocol::DeviceId) -> Result<(), RpcError> {
        let theirs: Vec<i64> = self
            .live
            .sessions
            .iter()
            .filter(|(_, session)| {
                session.durable.as_ref().is_some_and(|durable| {
                    bowline_protocol::DeviceId::of_public_key(&durable.device) == *device
                })
            })
            .map(|(id, _)| *id)
            .collect();
        let found = self.transact(|conn| {
            let found = store::devices::revoke(conn, device)?.is_some();
            if found {
                theirs
                    .iter()
                    .try_for_each(|id| store::sessions::delete(conn, *id))?;
            }
            Ok(found)
        })?;
        if !found {
            return Err(RpcError::new(
                RpcReason::NotFound,
                format!("no device `{device}`"),
            ));
        }
        let now = self.options.clock.now();
        for id in theirs {
            self.live
                .drive(id, |machine| machine.handle(now, Input::Revoke));
            self.live.remove(id);
        }
        self.put_off();
        Ok(())
    }
}

impl Promise {
    fn welcome(&self, stamp: &Stamp) -> Option<SessionWelcome> {
        match self {
            Self::Probe => None,
            Self::New { epoch } => Some(SessionWelcome {
                state: SessionState::New,
                epoch: epoch.clone(),
                next_seq: 1,
                stamp: Some(stamp.clone()),
            }),
            Self::Known {
                plan,
                window,
                epoch,
                ..
            } => {
                let (state, epoch, next_seq) = match plan {
                    AttachPlan::New => (SessionState::New, epoch, 1),
                    AttachPlan::Resumed { .. } => {
                        (SessionState::Resumed, &window.epoch, window.next_seq)
                    }
                    AttachPlan::Reset { keep_epoch: true } => {
                        (SessionState::Reset, &window.epoch, window.next_seq)
                    }
                    AttachPlan::Reset { keep_epoch: false } => (SessionState::Reset, epoch, 1),
                };
                Some(SessionWelcome {
                    state,
                    epoch: epoch.clone(),
                    next_seq,
                    stamp: Some(stamp.clone()),
                })
            }
        }
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

/// Whether an attach is in the store. A disk that takes nothing keeps nobody from reading (C8): what an attach has to write is
/// written later, unless it is a pairing.
fn told(stored: Result<(), RpcError>, is_pairing: bool) -> Result<bool, Refusal> {
    match stored {
        Ok(()) => Ok(true),
        Err(error) if !is_pairing && store::is_unavailable(&error) => Ok(false),
        Err(error) => Err(refused(&error)),
    }
}

fn new_epoch() -> Epoch {
    Epoch::from_uuid(Uuid::now_v7())
}

fn pair(
    conn: &rusqlite::Connection,
    admission: &Admission,
    pairing: Option<[u8; 32]>,
    now: i64,
) -> rusqlite::Result<()> {
    let Some(digest) = pairing else {
        return Ok(());
    };
    let client = &admission.hello.client;
    store::devices::consume_pairing(conn, &digest)?;
    store::devices::pair(
        conn,
        &admission.device,
        &bounded(&client.name),
        &bounded(&client.platform),
        now,
    )
}

/// What a client says about itself, short enough for listings.
fn bounded(text: &str) -> String {
    text.chars()
        .filter(|c| !bowline_protocol::text::is_harmful(*c))
        .take(64)
        .collect()
}
