//! The two messages of the handshake.

use snow::{Builder, HandshakeState};

use super::{Channel, NOISE_PATTERN, PSK_POSITION, SealError};
use crate::{
    DaemonIdentity, DeviceKey, Hello, PublicKey, ServerId, TransportKey, Welcome,
    handshake::IdentityProof,
    identity::PresharedKey,
    limits::{MAX_HELLO_BYTES, MAX_NOISE_MESSAGE},
};

/// Bytes the IK pattern adds to the payloads of messages 1 (e, s, tags) and 2 (e, tag).
const OVERHEAD: usize = 32 + 48 + 16;

fn prologue(server: &ServerId) -> Vec<u8> {
    format!("bowline/1\n{server}").into_bytes()
}

fn builder<'a>(private: &'a [u8; 32], prologue: &'a [u8]) -> Result<Builder<'a>, SealError> {
    let params = NOISE_PATTERN.parse().map_err(|_| SealError::Crypto)?;
    Ok(Builder::new(params)
        .local_private_key(private)?
        .prologue(prologue)?)
}

/// The client's side.
pub struct Initiator {
    state: HandshakeState,
    server: ServerId,
    daemon: PublicKey,
    psk: PresharedKey,
    message_1: Vec<u8>,
}

impl Initiator {
    /// Begins a handshake with the daemon of this id and transport key. `psk` is the device's, or
    /// the offer's while pairing.
    ///
    /// # Errors
    /// When a key is unusable.
    pub fn new(
        device: &DeviceKey,
        daemon: &PublicKey,
        server: &ServerId,
        psk: PresharedKey,
    ) -> Result<Self, SealError> {
        let prologue = prologue(server);
        let state = builder(device.private_bytes(), &prologue)?
            .remote_public_key(daemon.as_bytes())?
            .psk(PSK_POSITION, psk.as_bytes())?
            .build_initiator()?;
        Ok(Self {
            state,
            server: server.clone(),
            daemon: *daemon,
            psk,
            message_1: Vec::new(),
        })
    }

    /// Writes message 1, which contains the hello.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] when the hello exceeds its limit.
    pub fn write_hello(&mut self, hello: &Hello) -> Result<Vec<u8>, SealError> {
        let payload = hello.to_json();
        if payload.len() > MAX_HELLO_BYTES {
            return Err(SealError::TooLarge {
                limit: MAX_HELLO_BYTES,
            });
        }
        let message = write(&mut self.state, &payload)?;
        self.message_1.clone_from(&message);
        Ok(message)
    }

    /// Reads message 2. The channel allows messages of `max_message` bytes until the welcome's own
    /// limit is set with [`Channel::set_max_message`].
    ///
    /// A daemon that shares no key with this device answers under [`PresharedKey::NONE`]. Only a
    /// refusal is accepted there.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when a daemon with another key answered; [`SealError::Identity`] when
    /// the daemon's identity does not vouch for its transport key (TR-1); [`SealError::Malformed`]
    /// when it is not a welcome.
    pub fn read_welcome(
        mut self,
        message: &[u8],
        max_message: usize,
    ) -> Result<(Welcome, Channel), SealError> {
        let (payload, is_shared) = match read(&mut self.state, message) {
            Ok(payload) => (payload, self.psk != PresharedKey::NONE),
            Err(_) => {
                let none = PresharedKey::NONE;
                self.state
                    .set_psk(usize::from(PSK_POSITION), none.as_bytes())?;
                (read(&mut self.state, message)?, false)
            }
        };
        let (proof, welcome) =
            Welcome::parse(&payload).map_err(|_| SealError::Malformed("welcome"))?;
        if !proof.is_of(&self.server, &self.daemon, &self.message_1) {
            return Err(SealError::Identity);
        }
        if !is_shared && matches!(welcome, Welcome::Accepted(_)) {
            return Err(SealError::Crypto);
        }
        Ok((
            welcome,
            Channel::new(self.state.into_transport_mode()?, max_message),
        ))
    }
}

/// The daemon's side.
pub struct Responder {
    state: HandshakeState,
    transport: PublicKey,
    message_1: Vec<u8>,
}

impl Responder {
    /// Awaits a handshake addressed to this daemon.
    ///
    /// # Errors
    /// When the key is unusable.
    pub fn new(key: &TransportKey, server: &ServerId) -> Result<Self, SealError> {
        let prologue = prologue(server);
        let state = builder(key.private_bytes(), &prologue)?.build_responder()?;
        Ok(Self {
            state,
            transport: key.public(),
            message_1: Vec::new(),
        })
    }

    /// Reads message 1. Returns the device key of its sender and the unparsed bytes of the hello.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when it was not addressed to this daemon; [`SealError::TooLarge`].
    pub fn read_hello(&mut self, message: &[u8]) -> Result<(PublicKey, Vec<u8>), SealError> {
        if message.len() > MAX_HELLO_BYTES + OVERHEAD {
            return Err(SealError::TooLarge {
                limit: MAX_HELLO_BYTES,
            });
        }
        let payload = read(&mut self.state, message)?;
        let device = self
            .state
            .get_remote_static()
            .and_then(|key| <[u8; 32]>::try_from(key).ok())
            .ok_or(SealError::Crypto)?;
        self.message_1 = message.to_vec();
        Ok((PublicKey::from_bytes(device), payload))
    }

    /// Writes message 2, which contains the welcome, and returns the channel. `psk` is the one that
    /// the hello's device or offer has, or [`PresharedKey::NONE`] for a refusal.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] when the welcome exceeds its limit.
    pub fn write_welcome(
        mut self,
        identity: &DaemonIdentity,
        psk: &PresharedKey,
        welcome: &Welcome,
        max_message: usize,
    ) -> Result<(Vec<u8>, Channel), SealError> {
        let proof = IdentityProof::sign(identity, &self.transport, &self.message_1);
        self.state
            .set_psk(usize::from(PSK_POSITION), psk.as_bytes())?;
        let message = write(&mut self.state, &welcome.to_json(&proof))?;
        Ok((
            message,
            Channel::new(self.state.into_transport_mode()?, max_message),
        ))
    }
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut message = vec![0; (payload.len() + OVERHEAD).min(MAX_NOISE_MESSAGE)];
    let length = state.write_message(payload, &mut message)?;
    message.truncate(length);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut payload = vec![0; message.len()];
    let length = state.read_message(message, &mut payload)?;
    payload.truncate(length);
    Ok(payload)
}
