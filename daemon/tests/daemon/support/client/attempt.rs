//! One attempt to connect, each of whose steps can also be done wrongly.

use std::net::SocketAddr;

use bowline_protocol::{
    Hello, Offer, PROTOCOL_VERSION, PublicKey, Purpose, Resume, SESSION_PATH, ServerId, Welcome,
    handshake::{ClientInfo, PairingHello, SessionWelcome},
    identity::{OfferId, PresharedKey},
    limits::MAX_MESSAGE_BYTES,
    offer::PairingToken,
    seal::{Channel, Initiator, NOISE_PATTERN, SealError},
};
use serde_json::{Value, json};

use super::{Client, Ended, Wire};
use crate::support::{Install, TestDaemon};

/// Keys and words of one attempt to connect.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) server: ServerId,
    pub(crate) daemon: PublicKey,
    pub(crate) install: Install,
    pub(crate) hello: Hello,
    /// The key of the offer, while pairing.
    offer: PresharedKey,
}

impl Attempt {
    pub(crate) fn new(daemon: &TestDaemon, install: &Install) -> Self {
        Self::by(
            daemon.address(),
            daemon.daemon.server_id().clone(),
            daemon.daemon.identity().transport.public(),
            install,
        )
    }

    /// To the daemon of an offer, with its token.
    pub(crate) fn of_offer(offer: &Offer, install: &Install) -> Self {
        let address = offer.direct[0].parse().unwrap();
        Self::by(
            address,
            offer.server_id.clone(),
            offer.transport_key,
            install,
        )
        .token(&offer.token)
    }

    fn by(address: SocketAddr, server: ServerId, daemon: PublicKey, install: &Install) -> Self {
        Self {
            address,
            path: SESSION_PATH.to_owned(),
            server,
            daemon,
            install: install.clone(),
            hello: Hello {
                protocol: PROTOCOL_VERSION,
                purpose: Purpose::Session,
                client_session_key: install.session.clone(),
                client: ClientInfo {
                    name: "test".to_owned(),
                    version: "1".to_owned(),
                    platform: "linux".to_owned(),
                },
                capabilities: Vec::new(),
                key: install.key_id(),
                pairing: None,
                resume: None,
            },
            offer: PresharedKey::NONE,
        }
    }

    /// The same, to pair with the offer of this token first.
    pub(crate) fn token(mut self, token: &PairingToken) -> Self {
        self.hello.purpose = Purpose::Pairing;
        self.hello.key = None;
        self.hello.pairing = Some(PairingHello {
            offer: OfferId::of_token(token),
            secret: self.install.secret.clone(),
        });
        self.offer = PresharedKey::of_offer(token);
        self
    }

    /// The same without an offer, for a device that has paired.
    pub(crate) fn paired(mut self) -> Self {
        self.hello.purpose = Purpose::Session;
        self.hello.key = self.install.key_id();
        self.hello.pairing = None;
        self
    }

    fn psk(&self) -> PresharedKey {
        match self.hello.pairing {
            Some(_) => self.offer.clone(),
            None => self.install.psk(),
        }
    }

    pub(crate) fn probe(mut self) -> Self {
        self.hello.purpose = Purpose::Probe;
        self
    }

    pub(crate) fn resume(mut self, session: &SessionWelcome, last_seq: u64) -> Self {
        self.hello.resume = Some(Resume {
            epoch: session.epoch.clone(),
            last_seq,
            stamp: session.stamp.clone(),
        });
        self
    }

    /// Message 1, and the state that reads message 2.
    pub(crate) fn message_1(&self) -> (Initiator, Vec<u8>) {
        let psk = self.psk();
        let initiator = Initiator::new(&self.install.key, &self.daemon, &self.server, psk);
        let mut initiator = initiator.unwrap();
        let message = initiator.write_hello(&self.hello).unwrap();
        (initiator, message)
    }

    /// Knows the offer's id, but not its token.
    pub(crate) fn forget_token(&mut self) {
        self.offer = PresharedKey::from_bytes([0xee; 32]);
    }

    /// Whether the daemon's answer is closed to this client.
    pub(crate) async fn message_2_does_not_open(&self) -> bool {
        let mut wire = Wire::dial_path(self.address, &self.path).await;
        let (initiator, message) = self.message_1();
        wire.send(message).await;
        let message = wire.receive().await.expect("an answer");
        let read = initiator.read_welcome(&message, MAX_MESSAGE_BYTES as usize);
        matches!(read, Err(SealError::Crypto))
    }

    /// Bytes of message 2 on the wire.
    pub(crate) async fn welcome_size(&self) -> usize {
        let mut wire = Wire::dial_path(self.address, &self.path).await;
        wire.send(self.message_1().1).await;
        wire.receive().await.expect("an answer").len()
    }

    /// Up to the welcome, whatever it says.
    pub(crate) async fn welcome(&self) -> Result<(Wire, Channel, Welcome), Ended> {
        let mut wire = Wire::dial_path(self.address, &self.path).await;
        let (initiator, message) = self.message_1();
        wire.send(message).await;
        let message = wire.receive().await?;
        let read = initiator.read_welcome(&message, MAX_MESSAGE_BYTES as usize);
        let (welcome, channel) = read.unwrap();
        Ok((wire, channel, welcome))
    }

    /// The reason of the refusing welcome, and the close code that follows it.
    pub(crate) async fn refused(&self) -> (String, Ended) {
        let (mut wire, _, welcome) = self.welcome().await.expect("a refusing welcome");
        let Welcome::Refused(refusal) = welcome else {
            panic!("not refused: {welcome:?}");
        };
        (refusal.reason.to_string(), wire.ended().await)
    }

    /// Pairs, up to the daemon's approval; it must be one that asks nobody.
    pub(crate) async fn pair(&self) {
        let (wire, channel, welcome) = self.welcome().await.expect("a welcome");
        let mut client = Client::attached(wire, channel, welcome);
        client.notify("session.ready", json!({})).await;
        let approved = client.next_text().await.expect("an approval");
        assert_eq!(approved["method"], "pairing.approved", "{approved}");
        self.install.paired_by(&self.offer);
    }

    /// All the way, `session.ready` included; pairs first with an offer.
    pub(crate) async fn connect(&self) -> Client {
        if self.hello.pairing.is_some() {
            self.pair().await;
            return Box::pin(self.clone().paired().connect()).await;
        }
        let (wire, channel, welcome) = self.welcome().await.expect("a welcome");
        let mut client = Client::attached(wire, channel, welcome);
        client.notify("session.ready", json!({})).await;
        client
    }

    /// Message 1 with a hello that the protocol crate would not write.
    pub(crate) fn raw_message_1(&self, hello: &[u8]) -> (RawInitiator, Vec<u8>) {
        RawInitiator::start(self, hello)
    }

    /// What a daemon answers to a hello of these bytes: the refusal's reason and the close code.
    pub(crate) async fn refused_raw(&self, hello: &[u8]) -> (String, Ended) {
        let (mut initiator, message) = self.raw_message_1(hello);
        let mut wire = Wire::dial_path(self.address, &self.path).await;
        wire.send(message).await;
        let reason = match wire.receive().await {
            Ok(answer) => {
                let welcome: Value = serde_json::from_slice(&initiator.read(&answer)).unwrap();
                assert_eq!(welcome["ok"], false, "{welcome}");
                welcome["error"]["reason"].as_str().unwrap().to_owned()
            }
            Err(ended) => return (String::new(), ended),
        };
        (reason, wire.ended().await)
    }
}

/// The Noise initiator itself, for hellos that no client of ours would send.
pub(crate) struct RawInitiator(snow::HandshakeState);

impl RawInitiator {
    fn start(attempt: &Attempt, hello: &[u8]) -> (Self, Vec<u8>) {
        let prologue = format!("bowline/1\n{}", attempt.server);
        let private = data_encoding::BASE64URL_NOPAD
            .decode(attempt.install.key.to_base64().as_bytes())
            .unwrap();
        let mut state = snow::Builder::new(NOISE_PATTERN.parse().unwrap())
            .local_private_key(&private)
            .unwrap()
            .remote_public_key(attempt.daemon.as_bytes())
            .unwrap()
            .prologue(prologue.as_bytes())
            .unwrap()
            .psk(2, PresharedKey::NONE.as_bytes())
            .unwrap()
            .build_initiator()
            .unwrap();
        let mut message = vec![0; hello.len() + 128];
        let length = state.write_message(hello, &mut message).unwrap();
        message.truncate(length);
        (Self(state), message)
    }

    fn read(&mut self, message: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; message.len()];
        let length = self.0.read_message(message, &mut payload).unwrap();
        payload.truncate(length);
        payload
    }
}
