//! Everything needed to dial one address as one client, repeatedly.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_protocol::{
    ClientSessionKey, Hello, PROTOCOL_VERSION, Purpose, Resume,
    handshake::{Accepted, ClientInfo, PairingHello},
};

use crate::{
    error::Failure,
    transport::{
        Connector, Target,
        link::{self, Credentials, Link},
    },
};

/// The last applied event of a session, shared by the clients of its host. The host's driver writes
/// it; a client reads it for each hello.
#[derive(Clone, Debug, Default)]
pub struct Cursor(Arc<Mutex<Option<Resume>>>);

impl Cursor {
    /// A cursor positioned after an event.
    pub fn at(resume: Resume) -> Self {
        Self(Arc::new(Mutex::new(Some(resume))))
    }

    /// The position from which the session resumes, if any.
    pub fn get(&self) -> Option<Resume> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Resume>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, resume: Option<Resume>) {
        *self.lock() = resume;
    }

    pub(crate) fn advance(&self, seq: u64) {
        if let Some(resume) = self.lock().as_mut() {
            resume.last_seq = seq;
        }
    }
}

/// Dials one target.
#[derive(Clone)]
pub struct Dialer {
    /// Opens transports.
    pub connector: Arc<dyn Connector>,
    /// The target.
    pub target: Target,
    /// The expected daemon key, this device's own key and the one they share.
    pub credentials: Credentials,
    /// The key of the session.
    pub client_session_key: ClientSessionKey,
    /// Name and version of the client.
    pub client: ClientInfo,
    /// The position from which the session resumes.
    pub cursor: Cursor,
    /// The offer; only while pairing.
    pub pairing: Option<PairingHello>,
}

impl Dialer {
    /// Opens one connection. The caller bounds the wait.
    ///
    /// # Errors
    /// [`Failure`] with the closed reason.
    pub async fn dial(&self, purpose: Purpose) -> Result<(Link, Accepted), Failure> {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            purpose,
            client_session_key: self.client_session_key.clone(),
            client: self.client.clone(),
            capabilities: Vec::new(),
            key: match purpose {
                Purpose::Session | Purpose::Probe => self.credentials.key_id(),
                Purpose::Pairing => None,
            },
            pairing: self.pairing.clone(),
            resume: match purpose {
                Purpose::Session => self.cursor.get(),
                Purpose::Probe | Purpose::Pairing => None,
            },
        };
        link::open(
            self.connector.as_ref(),
            &self.target,
            &self.credentials,
            &hello,
        )
        .await
    }
}
