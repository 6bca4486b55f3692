//! Sessions: hellos, attaches and their list.

use std::{collections::BTreeSet, sync::Arc};

use bowline_protocol::{DeviceId, Hello, PublicKey, Refusal, error::RpcError};

use crate::{
    ledger::{
        Admission, Attached, Attachment, Ledger, SealedRefusal, SessionCounts, SessionInfo,
        admission::refused, core::Core, follow::Follows, live::LiveSession, owner::Owner,
        queue::Job, types::Promise,
    },
    outbound::ConnectionHandle,
};

impl Ledger {
    /// Number of sessions.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn session_counts(&self) -> Result<SessionCounts, RpcError> {
        self.ask(Job::Now, |core| {
            let mut counts = SessionCounts::default();
            let stored = core.live.sessions.values();
            for session in stored.filter(|session| session.durable.is_some()) {
                if session.links.is_empty() {
                    counts.detached += 1;
                } else {
                    counts.attached += 1;
                }
            }
            Ok(counts)
        })
        .await
    }

    /// Checks a hello and plans its attach. Changes nothing.
    ///
    /// # Errors
    /// The refusal to answer the hello with.
    pub async fn admit(
        &self,
        device: PublicKey,
        hello: &Hello,
    ) -> Result<Admission, SealedRefusal> {
        let hello = hello.clone();
        let looked = move |core: &mut Core| {
            let admitted = core.admit(device, hello);
            if let Err(refused) = &admitted {
                core.note_refused(&device, refused.refusal.reason);
            }
            Ok(admitted)
        };
        self.ask_as(Owner::HELLOS, Job::Now, looked)
            .await
            .unwrap_or_else(|error| Err(refused(&error).into()))
    }

    /// Runs the attach planned by [`Ledger::admit`], on the client's `session.ready`: pairs the
    /// device, or creates or resumes the session and registers the connection. Everything is
    /// checked again. A probe attaches and records nothing (INV-8). Dropping the [`Attachment`]
    /// detaches.
    ///
    /// # Errors
    /// The close reason for the connection.
    pub async fn attach(
        &self,
        admission: Admission,
        connection: ConnectionHandle,
    ) -> Result<Attached, Refusal> {
        let unattached = |replay| Attached {
            attachment: None,
            replay,
        };
        if matches!(admission.promise, Promise::Probe) {
            // The device may have been revoked since the welcome.
            let checked = self.ask(Job::Now, move |core| {
                Ok(core.check_again(&admission).outcome)
            });
            return match checked.await {
                Ok(outcome) => outcome.map(|_| unattached(Vec::new())),
                Err(error) => Err(refused(&error)),
            };
        }
        let owner = Owner::of(&admission.device);
        self.ask_as(owner, Job::Solo, move |core| {
            if matches!(admission.promise, Promise::Pairing) {
                return Ok(core.ask_to_pair(&admission, &connection).map(unattached));
            }
            Ok(core.attach(&admission, &connection))
        })
        .await
        .unwrap_or_else(|error| Err(refused(&error)))
    }

    /// Creates a session for a connection of the local socket. It ends with the connection and is
    /// not stored. It gets only the events of subjects it subscribed to. All such sessions share
    /// one durable scope of intents, named `local`.
    ///
    /// # Errors
    /// When the ledger is overloaded or has stopped.
    pub async fn attach_local(&self, connection: ConnectionHandle) -> Result<Attachment, RpcError> {
        self.ask_as(Owner::LOCAL, Job::Now, move |core| {
            let session = core.live.local_session();
            let id = connection.id;
            core.live.insert(LiveSession {
                reference: session.clone(),
                durable: None,
                next_seq: 1,
                links: vec![connection],
                subscriptions: BTreeSet::new(),
                follows: Follows::default(),
            });
            Ok(Attachment {
                session,
                connection: id,
                queue: Arc::clone(&core.queue),
            })
        })
        .await
    }

    /// Every session (SV-5), oldest first.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, RpcError> {
        self.ask(Job::Now, |core| {
            let mut sessions: Vec<_> = core.live.sessions.iter().collect();
            sessions.sort_unstable_by_key(|(id, _)| **id);
            Ok(sessions
                .into_iter()
                .filter_map(|(_, session)| session.info())
                .collect())
        })
        .await
    }
}

impl LiveSession {
    fn info(&self) -> Option<SessionInfo> {
        let durable = self.durable.as_ref()?;
        Some(SessionInfo {
            number: self.reference.id.cast_unsigned(),
            external_session_key: durable.key.clone(),
            session: self.reference.log_hash(),
            device_id: DeviceId::of_public_key(&durable.device),
            state: durable.machine.state().name(),
            epoch: durable.epoch.clone(),
            next_seq: self.next_seq,
            connections: self.links.iter().map(|link| link.id).collect(),
            subscriptions: self.subscriptions.len().saturating_add(self.follows.len()),
            replay_events: durable.log.len(),
            replay_bytes: durable.log.bytes(),
            created_at: durable.created_at,
            last_seen_at: durable.last_seen_at,
        })
    }
}
