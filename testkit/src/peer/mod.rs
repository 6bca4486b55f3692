//! A model daemon's side of one connection, over any message socket: handshake, sealing, and the
//! messages of events, answers and pages of history.
//!
//! What a model daemon decides (whom it welcomes, what it answers) stays with the test.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod replay;
mod text;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bowline_protocol::{
    DaemonIdentity, Grant, Hello, PublicKey, Reason, ServerId, TransportKey, Welcome,
    handshake::{Accepted, SessionWelcome, WelcomeLimits},
    identity::{PairingNonce, PresharedKey},
    limits::{HEARTBEAT, MAX_IN_FLIGHT, MAX_MESSAGE_BYTES},
    methods::{Empty, PairingAsked, name},
    offer::PairingToken,
    rpc,
    seal::{Channel, Responder},
};
use bytes::Bytes;
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

pub use self::{
    replay::Replay,
    text::{answer, page},
};

/// One end of a connection that carries whole messages. Dropping it ends the connection.
pub trait MessageSocket {
    /// The next message; `None` once the connection has ended. Cancel-safe.
    fn receive(&mut self) -> impl Future<Output = Option<Bytes>> + Send;

    /// Sends a message without waiting.
    fn send(&self, message: Vec<u8>);

    /// Closes the connection with a reason.
    fn close(&self, reason: Reason);
}

/// What a connection is to send next.
#[derive(Debug)]
pub enum Order {
    /// A text, sealed.
    Say(Vec<u8>),
    /// A close, which ends the connection.
    Close(Reason),
}

/// Why a handshake made no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPeer {
    /// The connection ended, or the daemon had nothing to say.
    Gone,
    /// The client expects another daemon.
    WrongKey,
    /// The welcome refused.
    Refused,
    /// The device is paired, and its connection has ended.
    Paired,
}

/// What a model daemon proves its identity with, and the keys that it shares with its devices.
pub struct Keys {
    /// Proves the `serverId`.
    pub identity: DaemonIdentity,
    /// The key that clients pin.
    pub transport: TransportKey,
    /// The token of its offers, each of which is good any number of times.
    pub token: PairingToken,
    /// A device that missed the answer to its pairing still has the key before.
    devices: Mutex<HashMap<PublicKey, Vec<PresharedKey>>>,
    /// How long the owner takes to say yes.
    thinking: Mutex<Duration>,
}

impl Keys {
    /// The key of a device that a test has stored as paired.
    pub const STORED: PresharedKey = PresharedKey::from_bytes([1; 32]);

    /// The keys of these bytes.
    ///
    /// # Panics
    /// Never with seeds of 32 bytes.
    pub fn new(seed: [u8; 32], transport: [u8; 32], token: [u8; 16]) -> Self {
        Self {
            identity: DaemonIdentity::from_seed(seed).expect("a seed"),
            transport: TransportKey::from_private(transport),
            token: PairingToken::from_bytes(token),
            devices: Mutex::default(),
            thinking: Mutex::default(),
        }
    }

    /// Pairs further devices after this time, as an owner who is asked.
    pub fn approve_after(&self, time: Duration) {
        *self.thinking.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    fn thinking(&self) -> Duration {
        *self.thinking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn psk(&self, device: &PublicKey, hello: &Hello) -> PresharedKey {
        if hello.pairing.is_some() {
            return PresharedKey::of_offer(&self.token);
        }
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = devices.get(device).into_iter().flatten();
        let named = keys.find(|known| Some(known.id()) == hello.key);
        named.cloned().unwrap_or(Self::STORED)
    }

    fn pair(&self, device: PublicKey, psk: PresharedKey) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.entry(device).or_default().push(psk);
    }
}

/// The daemon's end of a sealed connection.
pub struct Peer<S> {
    socket: S,
    channel: Channel,
    /// What the client said first.
    pub hello: Hello,
}

impl<S: MessageSocket> Peer<S> {
    /// Reads the hello and answers with the welcome. A refusal closes the connection; without a
    /// welcome it is dropped. A device that pairs and is not refused is paired at once, and its
    /// connection ends.
    ///
    /// # Errors
    /// No connection was made; see [`NoPeer`].
    ///
    /// # Panics
    /// The hello is malformed.
    pub async fn accept(
        mut socket: S,
        keys: &Keys,
        welcome: impl FnOnce(&Hello) -> Option<Welcome>,
    ) -> Result<Self, NoPeer> {
        let server = keys.identity.server_id();
        let mut responder = Responder::new(&keys.transport, server).expect("a daemon's key");
        let first = socket.receive().await.ok_or(NoPeer::Gone)?;
        let Ok((device, hello)) = responder.read_hello(&first) else {
            socket.close(Reason::CryptoFailed);
            return Err(NoPeer::WrongKey);
        };
        let hello = Hello::parse(&hello).expect("a well-formed hello");
        let mut welcome = welcome(&hello).ok_or(NoPeer::Gone)?;
        if let (Some(_), Welcome::Accepted(accepted)) = (&hello.pairing, &mut welcome) {
            accepted.session = None;
        }
        let psk = keys.psk(&device, &hello);
        let most = MAX_MESSAGE_BYTES as usize;
        let written = responder.write_welcome(&keys.identity, &psk, &welcome, most);
        let (second, channel) = written.expect("a welcome fits into a message");
        socket.send(second);
        if let Welcome::Refused(refusal) = &welcome {
            socket.close(refusal.reason);
            return Err(NoPeer::Refused);
        }
        let mut peer = Self {
            socket,
            channel,
            hello,
        };
        let Some(pairing) = peer.hello.pairing.clone() else {
            return Ok(peer);
        };
        peer.hear().await.ok_or(NoPeer::Gone)?;
        let thinking = keys.thinking();
        if !thinking.is_zero() {
            let nonce = PairingNonce::from_bytes([0; 16]);
            peer.notify(name::PAIRING_ASKED, &PairingAsked { nonce });
            sleep(thinking).await;
        }
        keys.pair(device, PresharedKey::of_device(&psk, &pairing.secret));
        peer.notify(name::PAIRING_APPROVED, &Empty {});
        // The client closes it.
        while peer.hear().await.is_some() {}
        Err(NoPeer::Paired)
    }

    fn notify<P: Serialize>(&mut self, method: &str, params: &P) {
        let mut text = Vec::new();
        rpc::write_notification(&mut text, method, params).expect("a notification has a text");
        self.say(&text);
    }

    /// Seals and sends a text.
    ///
    /// # Panics
    /// The channel is exhausted.
    pub fn say(&mut self, text: &[u8]) {
        let socket = &self.socket;
        self.channel
            .gather(text, |message| socket.send(message.to_vec()))
            .expect("a channel that seals");
        self.channel
            .finish(|message| socket.send(message.to_vec()))
            .expect("a channel that seals");
    }

    /// The next text; `None` once the connection has ended. Cancel-safe.
    ///
    /// # Panics
    /// The client sent what does not open.
    pub async fn hear(&mut self) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        if let Some(text) = self.channel.next(&mut buffer) {
            return Some(text.to_vec());
        }
        loop {
            let message = self.socket.receive().await?;
            let opened = self.channel.open(&message, &mut buffer);
            if let Some(text) = opened.expect("what was sealed opens") {
                return Some(text.to_vec());
            }
        }
    }

    /// Closes the connection.
    pub fn close(&self, reason: Reason) {
        self.socket.close(reason);
    }

    /// The socket itself.
    pub const fn socket(&self) -> &S {
        &self.socket
    }

    /// Executes orders, which come first, and gives every text to `take`, until the connection
    /// ends, `take` returns false, or the client is silent for so long.
    pub async fn run(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        silence: Duration,
        mut take: impl FnMut(&Hello, &[u8]) -> bool,
    ) {
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Say(text)) => self.say(&text),
                    Some(Order::Close(reason)) => return self.close(reason),
                    None => return,
                },
                text = timeout(silence, self.hear()) => match text {
                    Ok(Some(text)) if take(&self.hello, &text) => {}
                    _ => return,
                },
            }
        }
    }
}

/// An accepting welcome with the limits and the heartbeat of the real daemon.
pub fn accepted(server: ServerId, name: &str, session: Option<SessionWelcome>) -> Accepted {
    Accepted {
        server_id: server,
        server_name: name.to_owned(),
        version: "0".to_owned(),
        grant: session.is_some().then_some(Grant::OWNER),
        session,
        heartbeat_ms: u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX),
        limits: WelcomeLimits {
            max_message_bytes: MAX_MESSAGE_BYTES,
            max_in_flight: MAX_IN_FLIGHT,
        },
        capabilities: Vec::new(),
    }
}
