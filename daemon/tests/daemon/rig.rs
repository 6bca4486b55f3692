//! A ledger in a directory of its own, and apps that attach to it without sockets.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_daemon::{
    clock::Clock,
    ledger::{Admission, Attached, Attachment, Audience, Ledger, LedgerOptions, SessionRef},
    outbound::{ConnectionHandle, Frame, Outbound},
};
use bowline_machines::Path;
use bowline_protocol::{
    AgentId, ClientSessionKey, DeviceId, DeviceKey, Hello, IntentId, PROTOCOL_VERSION, PublicKey,
    Purpose, Refusal, Resume, RpcReason, ServerId, SessionEvent, SessionState,
    error::RpcError,
    handshake::{ClientInfo, PairingHello},
    identity::{KeyId, OfferId, PairingSecret, PresharedKey, random_bytes},
    offer::PairingToken,
};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

/// The wall clock every test begins at.
pub(crate) const BEGINNING: i64 = 1_800_000_000_000;

/// A ledger and what it needs.
pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) options: LedgerOptions,
    pub(crate) ledger: Ledger,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut LedgerOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server_id = ServerId::of_public_key(b"test");
        let mut options = LedgerOptions::new(dir.path().join("bowline.db"), server_id);
        options.clock = Clock::manual(BEGINNING);
        adjust(&mut options);
        let ledger = Ledger::open(options.clone()).unwrap();
        Self {
            dir,
            options,
            ledger,
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// What a `kill -9` leaves behind: the files as they are now, opened by another ledger. The
    /// first ledger goes on with its own files, unseen.
    pub(crate) fn kill(&self) -> Self {
        self.kill_with(|_| {})
    }

    pub(crate) fn kill_with(&self, adjust: impl FnOnce(&mut LedgerOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bowline.db", "bowline.db-wal"] {
            let from = self.dir.path().join(name);
            if from.exists() {
                std::fs::copy(from, dir.path().join(name)).unwrap();
            }
        }
        let mut options = LedgerOptions {
            path: dir.path().join("bowline.db"),
            ..self.options.clone()
        };
        adjust(&mut options);
        let ledger = Ledger::open(options.clone()).unwrap();
        Self {
            dir,
            options,
            ledger,
        }
    }

    /// An orderly restart on the same files.
    pub(crate) async fn restart(self) -> Self {
        self.ledger.shutdown().await;
        let ledger = Ledger::open(self.options.clone()).unwrap();
        Self { ledger, ..self }
    }

    /// An app whose device has paired, without a session yet.
    pub(crate) async fn paired(&self) -> App {
        let mut app = App::new();
        let pairing = self
            .ledger
            .create_pairing(
                Duration::from_secs(600),
                false,
                bowline_daemon::ledger::OfferedGrant::default(),
            )
            .await
            .unwrap();
        app.token = Some(pairing.token);
        let link = self.attach(&app).await.unwrap();
        drop(link);
        app.token = None;
        app
    }

    pub(crate) async fn attach(&self, app: &App) -> Result<Link, Refusal> {
        self.attach_by(app, Outbound::new()).await
    }

    pub(crate) async fn attach_by(&self, app: &App, outbound: Outbound) -> Result<Link, Refusal> {
        if app.token.is_some() {
            let admission = self.admit_pairing(app).await?;
            self.pair(admission).await?;
            app.note_paired();
        }
        let admission = self.ledger.admit(app.device, &app.hello()).await;
        let admission = admission.map_err(|refused| refused.refusal)?;
        let mut link = self.keep_promise(admission, outbound).await?;
        if link.state == SessionState::Resumed {
            let stamp = link.cursor.stamp;
            link.cursor = app.resume.clone().unwrap();
            link.cursor.stamp = stamp;
        }
        Ok(link)
    }

    /// What a hello with the app's offer is answered.
    pub(crate) async fn admit_pairing(&self, app: &App) -> Result<Admission, Refusal> {
        let admission = self.ledger.admit(app.device, &app.pairing_hello()).await;
        admission.map_err(|refused| refused.refusal)
    }

    /// What `session.ready` does while pairing, with an offer that asks nobody.
    pub(crate) async fn pair(&self, admission: Admission) -> Result<(), Refusal> {
        let handle = ConnectionHandle {
            id: 0,
            path: Path::Direct,
            outbound: Outbound::new(),
        };
        let Attached { attachment, replay } = self.ledger.attach(admission, handle).await?;
        assert!(attachment.is_none());
        assert_eq!(replay.len(), 1, "the approval");
        Ok(())
    }

    /// What `session.ready` does.
    pub(crate) async fn keep_promise(
        &self,
        admission: Admission,
        outbound: Outbound,
    ) -> Result<Link, Refusal> {
        static CONNECTION: AtomicU64 = AtomicU64::new(1);
        let welcome = admission.session().cloned().unwrap();
        let id = CONNECTION.fetch_add(1, Ordering::Relaxed);
        let handle = ConnectionHandle {
            id,
            path: Path::Direct,
            outbound: outbound.clone(),
        };
        let Attached { attachment, replay } = self.ledger.attach(admission, handle).await?;
        Ok(Link {
            attachment: attachment.unwrap(),
            state: welcome.state,
            cursor: Resume {
                epoch: welcome.epoch,
                last_seq: welcome.next_seq - 1,
                stamp: welcome.stamp.clone(),
            },
            replay,
            outbound,
        })
    }

    /// Tells every session that an agent is gone, and which number the event carries in its name.
    pub(crate) async fn announce(&self, number: usize) {
        self.ledger
            .write(move |tx| {
                let agent_id = agent(&format!("agt_{number}"));
                let event = SessionEvent::AgentRemoved {
                    agent_id: agent_id.clone(),
                };
                tx.emit(Audience::Everyone(agent_id.as_str()), &event)
            })
            .await
            .unwrap();
    }

    /// Lets what is due by the clock happen.
    pub(crate) async fn settle(&self) {
        for _ in 0..2 {
            self.ledger.sessions().await.unwrap();
        }
    }
}

pub(crate) fn agent(text: &str) -> AgentId {
    text.parse().unwrap()
}

pub(crate) fn intent_id() -> IntentId {
    IntentId::from_uuid(Uuid::now_v7())
}

/// Checks that an error names a quota of this device.
#[track_caller]
pub(crate) fn is_told(error: &RpcError, reason: RpcReason, app: &App, setting: &str, limit: u64) {
    assert_eq!(error.reason(), Some(reason), "{error}");
    let quota = error.quota().unwrap();
    assert_eq!((quota.name.as_str(), quota.limit), (setting, limit));
    assert_eq!(quota.whose, "rig");
    assert_eq!(quota.device_id, Some(DeviceId::of_public_key(&app.device)));
    for part in ["rig ", setting] {
        assert!(error.message.contains(part), "{error}");
    }
}

/// One app install.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) device: PublicKey,
    pub(crate) key: ClientSessionKey,
    /// The offer that it pairs with first.
    pub(crate) token: Option<PairingToken>,
    /// The key of its last pairing.
    pub(crate) paired: Arc<Mutex<Option<KeyId>>>,
    pub(crate) resume: Option<Resume>,
    pub(crate) purpose: Purpose,
}

impl App {
    pub(crate) fn new() -> Self {
        Self {
            device: DeviceKey::from_private(random_bytes().unwrap()).public(),
            key: ClientSessionKey::from_random(random_bytes().unwrap()),
            token: None,
            paired: Arc::default(),
            resume: None,
            purpose: Purpose::Session,
        }
    }

    fn note_paired(&self) {
        let offer = PresharedKey::of_offer(self.token.as_ref().unwrap());
        let secret = PairingSecret::from_bytes([1; 32]);
        let key = PresharedKey::of_device(&offer, &secret).id();
        *self.paired.lock().unwrap() = Some(key);
    }

    pub(crate) fn resuming(&self, cursor: &Resume) -> Self {
        Self {
            resume: Some(cursor.clone()),
            ..self.clone()
        }
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            purpose: self.purpose,
            client_session_key: self.key.clone(),
            client: ClientInfo {
                name: "rig".to_owned(),
                version: "1".to_owned(),
                platform: "test".to_owned(),
            },
            capabilities: Vec::new(),
            key: *self.paired.lock().unwrap(),
            pairing: None,
            resume: self.resume.clone(),
        }
    }

    /// The hello with its offer.
    pub(crate) fn pairing_hello(&self) -> Hello {
        let token = self.token.as_ref().unwrap();
        Hello {
            purpose: Purpose::Pairing,
            key: None,
            pairing: Some(PairingHello {
                offer: OfferId::of_token(token),
                secret: PairingSecret::from_bytes([1; 32]),
            }),
            ..self.hello()
        }
    }
}

/// A connection that is attached, and the client's cursor on it.
pub(crate) struct Link {
    pub(crate) attachment: Attachment,
    pub(crate) state: SessionState,
    pub(crate) cursor: Resume,
    pub(crate) outbound: Outbound,
    replay: Vec<Frame>,
}

impl Link {
    pub(crate) fn session(&self) -> &SessionRef {
        self.attachment.session()
    }

    /// Applies what has arrived: each event once, by its number. Panics at a gap.
    pub(crate) fn apply(&mut self) -> Vec<(u64, Value)> {
        let mut frames = std::mem::take(&mut self.replay);
        self.outbound.drain_into(&mut frames);
        let mut applied = Vec::new();
        for frame in frames {
            let message: Value = serde_json::from_slice(&frame).unwrap();
            assert_eq!(message["method"], "session.event");
            let seq = message["params"]["seq"].as_u64().unwrap();
            if seq <= self.cursor.last_seq {
                continue;
            }
            assert_eq!(seq, self.cursor.last_seq + 1, "a gap in the events");
            self.cursor.last_seq = seq;
            applied.push((seq, message["params"]["event"].clone()));
        }
        applied
    }

    /// The numbers of the announcements that have arrived.
    pub(crate) fn heard(&mut self) -> Vec<usize> {
        self.apply()
            .iter()
            // Pairings are told as well.
            .filter_map(|(_, event)| event["agentId"].as_str())
            .map(|name| name.trim_start_matches("agt_").parse().unwrap())
            .collect()
    }
}
