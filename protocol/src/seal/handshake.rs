//! The two messages of the handshake.

use snow::{Builder, HandshakeState};

use super::{Channel, NOISE_PATTERN, SealError};
use crate::{
    DeviceKey, Hello, PublicKey, ServerId, TransportKey, Welcome,
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
}

impl Initiator {
    /// Begins a handshake with the daemon of that id and transport key.
    ///
    /// # Errors
    /// Only when a key cannot be used at all.
    pub fn new(
        device: &DeviceKey,
        daemon: &PublicKey,
        server: &ServerId,
    ) -> Result<Self, SealError> {
        let prologue = prologue(server);
        let state = builder(device.private_bytes(), &prologue)?
            .remote_public_key(daemon.as_bytes())?
            .build_initiator()?;
        Ok(Self { state })
    }

    /// Message 1 with the hello in it.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] when the hello is over its bound.
    pub fn write_hello(&mut self, hello: &Hello) -> Result<Vec<u8>, SealError> {
        let payload = serde_json::to_vec(hello).map_err(|_| SealError::Malformed("hello"))?;
        if payload.len() > MAX_HELLO_BYTES {
            return Err(SealError::TooLarge {
                limit: MAX_HELLO_BYTES,
            });
        }
        write(&mut self.state, &payload)
    }

    /// Reads message 2. The channel allows messages of `max_message` bytes until the welcome's own limit
    /// is set with [`Channel::set_max_message`].
    ///
    /// # Errors
    /// [`SealError::Crypto`] when another key answered; [`SealError::Malformed`] when it is no welcome.
    pub fn read_welcome(
        mut self,
        message: &[u8],
        max_message: usize,
    ) -> Result<(Welcome, Channel), SealError> {
        let payload = read(&mut self.state, message)?;
        let welcome = Welcome::parse(&payload).map_err(|_| SealError::Malformed("welcome"))?;
        Ok((
            welcome,
            Channel::new(self.state.into_transport_mode()?, max_message),
        ))
    }
}

/// The daemon's side.
pub struct Responder {
    state: HandshakeState,
}

impl Responder {
    /// Awaits a handshake meant for this daemon.
    ///
    /// # Errors
    /// Only when the key cannot be used at all.
    pub fn new(key: &TransportKey, server: &ServerId) -> Result<Self, SealError> {
        let prologue = prologue(server);
        let state = builder(key.private_bytes(), &prologue)?.build_responder()?;
        Ok(Self { state })
    }

    /// Reads message 1: the device that sent it and the bytes of its hello, not yet looked at.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when it was not made for this daemon; [`SealError::TooLarge`].
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
        Ok((PublicKey::from_bytes(device), payload))
    }

    /// Message 2 with the welcome in it, and the channel.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] when the welcome is over its bound.
    pub fn write_welcome(
        mut self,
        welcome: &Welcome,
        max_message: usize,
    ) -> Result<(Vec<u8>, Channel), SealError> {
        let message = write(&mut self.state, &welcome.to_json())?;
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
