//! The attach, at `session.ready`: everything is decided and stored before memory changes.

use std::sync::Arc;

use bowline_machines::daemon::session::{AttachPlan, ConnectionId, Input, ReplayWindow, Session};
use bowline_protocol::{
    Epoch, ExternalSessionKey, Grant, PublicKey, Reason, Refusal, error::RpcError,
    identity::PresharedKey,
};

use super::{RETRY_MS, Standing, overtaken, refused, window};
use crate::{
    ledger::{
        attachment::{Attached, Attachment},
        core::Core,
        counters::count,
        follow::Follows,
        live::{Durable, LiveSession, Pending},
        owner::Account,
        replay::ReplayLog,
        types::{Admission, Promise, SessionRef},
    },
    outbound::ConnectionHandle,
    store::{self, fault},
};

impl Core {
    /// Runs the planned attach. Everything is decided and stored before memory changes.
    pub(in crate::ledger) fn attach(
        &mut self,
        admission: &Admission,
        connection: &ConnectionHandle,
    ) -> Result<Attached, Refusal> {
        if let Some(reason) = connection.outbound.close_reason() {
            return Err(Refusal::new(reason, "the connection has ended"));
        }
        let key = admission.hello.client_session_key.external();
        let Standing {
            replaces, outcome, ..
        } = self.check_again(admission);
        let grant = outcome?;
        if admission.grant.as_ref() != Some(&grant) {
            return Err(overtaken());
        }
        let (id, after) = match &admission.promise {
            // The caller handles these; they attach to nothing (INV-8).
            Promise::Probe | Promise::Pairing => return Err(overtaken()),
            Promise::New { epoch } => (self.begin(admission, &key, epoch)?, 0),
            Promise::Known {
                id,
                plan,
                window: planned,
                epoch,
            } => {
                let after = self.go_on(*id, *plan, planned, epoch)?;
                (*id, after)
            }
        };
        self.join(id, connection, &grant);
        self.watch_expiry(&grant);
        if replaces {
            self.key_is_used(&admission.device, &admission.psk);
        }
        let (session, durable) = self.live.stored(id).ok_or_else(overtaken)?;
        count(&self.counters.attaches);
        Ok(Attached {
            attachment: Some(Attachment {
                session: session.reference.clone(),
                connection: connection.id,
                queue: Arc::clone(&self.queue),
            }),
            replay: durable.log.frames_after(after),
        })
    }

    /// Drops the key before the last pairing, once the device has shown that it has the new one. A
    /// full disk does not prevent the attach (C8): the deferred writes try again, and the device's
    /// next pairing does in any case, since it would keep the wrong one of the two.
    fn key_is_used(&mut self, device: &PublicKey, psk: &PresharedKey) {
        self.live.used_keys.insert(*device, psk.clone());
        if self.transact(Self::store_used_keys).is_ok() {
            self.live.used_keys.clear();
        }
    }

    /// Stores which keys devices have used, within a transaction.
    pub(in crate::ledger) fn store_used_keys(&self) -> rusqlite::Result<()> {
        let mut used = self.live.used_keys.iter();
        used.try_for_each(|(device, psk)| store::devices::use_key(&self.conn, device, psk))
    }

    /// Begins a session.
    fn begin(
        &mut self,
        admission: &Admission,
        key: &ExternalSessionKey,
        epoch: &Epoch,
    ) -> Result<i64, Refusal> {
        if self.live.by_key(key).is_some() {
            return Err(overtaken());
        }
        self.make_room(&admission.device)?;
        let now = self.options.clock.unix_millis();
        let name = store::devices::name(&self.conn, &admission.device)
            .map_err(|error| refused(&fault(error)))?;
        let account = Account::of(&admission.device, name.as_deref().unwrap_or("a device"));
        let id = self.live.next_session;
        let stored = self.transact(|core| {
            // A row is left over only if its deletion failed.
            let (key, epoch) = (key.as_str(), epoch.as_str());
            store::sessions::delete_key(&core.conn, key)?;
            store::sessions::insert(&core.conn, id, key, &admission.device, epoch, now)
        });
        let is_stored = attach_stored(stored)?;
        self.live.next_session = id.saturating_add(1);
        self.live.insert(LiveSession {
            reference: SessionRef::new(id, key.as_str(), account),
            next_seq: 1,
            links: Vec::new(),
            subscriptions: std::collections::BTreeSet::new(),
            follows: Follows::default(),
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

    /// Resumes or resets a session; returns the client's new cursor.
    fn go_on(
        &mut self,
        id: i64,
        plan: AttachPlan,
        planned: &ReplayWindow,
        epoch: &Epoch,
    ) -> Result<u64, Refusal> {
        let (session, durable) = self.live.stored(id).ok_or_else(overtaken)?;
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
        if !fresh {
            return Ok(after);
        }
        let now = self.options.clock.unix_millis();
        let stored =
            self.transact(|core| store::sessions::reset(&core.conn, id, epoch.as_str(), now));
        let is_stored = attach_stored(stored)?;
        self.live.unfollow_all(id);
        if let Some(session) = self.live.sessions.get_mut(&id) {
            session.next_seq = 1;
            if let Some(durable) = &mut session.durable {
                durable.epoch = epoch.clone();
                durable.log.clear(&mut self.live.dead_events);
                durable.log = ReplayLog::new();
                if is_stored {
                    // A session whose creation is not stored yet stays marked as created.
                    durable.pending = durable.pending.filter(|it| *it == Pending::Begun);
                } else {
                    durable.pending.get_or_insert(Pending::Reset);
                }
            }
            self.put_off();
        }
        Ok(after)
    }

    /// Attaches a connection to a session.
    fn join(&mut self, id: i64, connection: &ConnectionHandle, grant: &Grant) {
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
            for (connection, at) in active.iter().copied() {
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
        self.live.set_grant(id, grant);
        if active.is_empty() {
            self.live.expect_follows(id, now);
        }
        if let Some(session) = self.live.sessions.get_mut(&id) {
            session.links.push(connection.clone());
            if let Some(durable) = &mut session.durable {
                durable.attached_at.get_or_insert(now);
            }
        }
        self.note_seen(id);
    }

    /// Removes the session detached longest when the limit of sessions is reached: of the device's
    /// own if that is its limit, so that no device ends another's by beginning many (TR-12).
    fn make_room(&mut self, device: &PublicKey) -> Result<(), Refusal> {
        let stored = self.live.sessions.iter();
        let stored = stored.filter_map(|(id, session)| Some((*id, session.durable.as_deref()?)));
        let own = stored.filter(|(_, durable)| durable.device == *device);
        let quota = self.live.quotas.sessions;
        if quota > 0 && own.clone().count() >= quota {
            let oldest = longest_detached(own);
            return self.replace(oldest, "this device has reached its limit of sessions");
        }
        if self.live.sessions.len() < self.options.max_sessions {
            return Ok(());
        }
        let stored = self.live.sessions.iter();
        let stored = stored.filter_map(|(id, session)| Some((*id, session.durable.as_deref()?)));
        let oldest = longest_detached(stored);
        self.replace(oldest, "the daemon has reached its limit of sessions")
    }

    fn replace(&mut self, oldest: Option<i64>, full: &str) -> Result<(), Refusal> {
        let id = oldest.ok_or_else(|| Refusal {
            retry_after_ms: Some(RETRY_MS),
            ..Refusal::new(Reason::SessionCapacity, full)
        })?;
        self.forget(&[id]);
        Ok(())
    }
}

fn longest_detached<'a>(sessions: impl Iterator<Item = (i64, &'a Durable)>) -> Option<i64> {
    let detached = sessions.filter_map(|(id, it)| Some((it.machine.detached_since()?, id)));
    detached.min().map(|(_, id)| id)
}

/// Stores an attach unless the disk is full. A full disk does not prevent reading (C8): the rows of
/// an attach are written later.
fn attach_stored(stored: Result<(), RpcError>) -> Result<bool, Refusal> {
    match stored {
        Ok(()) => Ok(true),
        Err(error) if store::is_unavailable(&error) => Ok(false),
        Err(error) => Err(refused(&error)),
    }
}
