//! Everything needed to dial one address as one client, again and again.

use std::sync::{Arc, Mutex, PoisonError};

use bowline_protocol::{
    ClientSessionKey, Hello, PROTOCOL_VERSION, Purpose, Resume,
    handshake::{Accepted, ClientInfo},
};

use crate::{
    error::Failure,
    transport::{
        Connector, Target,
        link::{self, Credentials, Link},
    },
};

/// The last applied event of a session, shared by the clients of its host. The host's driver writes it; a
/// client reads it once for each hello.
#[derive(Clone, Debug, Default)]
pub struct Cursor(Arc<Mutex<Option<Resume>>>);

impl Cursor {
    /// A cursor that stands after that event.
    pub fn at(resume: Resume) -> Self {
        Self(Arc::new(Mutex::new(Some(resume))))
    }

    /// Where to go on, if anywhere.
    pub fn get(&self) -> Option<Resume> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set(&self, resume: Option<Resume>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = resume;
    }

    pub(crate) fn advance(&self, seq: u64) {
        if let Some(resume) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            resume.last_seq = seq;
        }
    }
}

/// Dials one target.
#[derive(Clone)]
pub struct Dialer {
    /// Opens transports.
    pub connector: Arc<dyn Connector>,
    /// Where to.
    pub target: Target,
    /// As whom, and whom to expect.
    pub credentials: Credentials,
    /// Whose session.
    pub client_session_key: ClientSessionKey,
    /// Who is calling.
    pub client: ClientInfo,
    /// Where the session goes on.
    pub cursor: Cursor,
    /// The token of an offer, while pairing.
    pub pairing_token: Option<String>,
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
            pairing_token: self.pairing_token.clone(),
            resume: match purpose {
                Purpose::Session => self.cursor.get(),
                Purpose::Probe => None,
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
