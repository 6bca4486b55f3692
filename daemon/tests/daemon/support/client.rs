//! A client of the session socket, one step at a time, so that every step can also be done wrongly.

use std::{collections::VecDeque, net::SocketAddr};

use bowline_protocol::{
    Hello, Offer, PROTOCOL_VERSION, PublicKey, Purpose, Resume, SESSION_PATH, SUBPROTOCOL,
    ServerId, Welcome,
    handshake::{Accepted, ClientInfo, PairingHello, SessionWelcome},
    identity::{OfferId, PresharedKey},
    limits::MAX_MESSAGE_BYTES,
    offer::PairingToken,
    seal::{Channel, Initiator, NOISE_PATTERN, SealError},
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::{Install, TestDaemon, within};

/// A WebSocket to a daemon, before the handshake.
pub(crate) struct Wire {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

/// How a socket ended: the close code, if there was one.
pub(crate) type Ended = Option<u16>;

impl Wire {
    pub(crate) async fn dial(address: SocketAddr) -> Self {
        Self::dial_path(address, SESSION_PATH).await
    }

    pub(crate) async fn dial_path(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let dialed = tokio_tungstenite::client_async(request, stream);
        let (socket, _) = within("the upgrade", dialed).await.unwrap();
        Self { socket }
    }

    pub(crate) async fn send(&mut self, message: Vec<u8>) {
        self.send_frame(Message::Binary(message.into())).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_frame(Message::Text(text.into())).await;
    }

    async fn send_frame(&mut self, message: Message) {
        // A daemon that has just closed may not take it; the test looks at the close.
        let _ = self.socket.send(message).await;
    }

    /// The next binary message, or how the socket ended.
    pub(crate) async fn receive(&mut self) -> Result<Vec<u8>, Ended> {
        loop {
            match within("a message or the end", self.socket.next()).await {
                Some(Ok(Message::Binary(message))) => return Ok(message.into()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| u16::from(frame.code)));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// How the socket ends, whatever comes before.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.receive().await {
                return ended;
            }
        }
    }
}

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

/// An attached client.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    pub(crate) channel: Channel,
    pub(crate) welcome: Accepted,
    next_id: u64,
    events: VecDeque<Value>,
    answers: VecDeque<Value>,
    /// What the daemon said inside the encryption before it closed.
    pub(crate) goodbye: Option<String>,
}

impl Client {
    /// A client whose welcome was read; it has said nothing yet.
    pub(crate) fn attached(wire: Wire, channel: Channel, welcome: Welcome) -> Self {
        let Welcome::Accepted(welcome) = welcome else {
            panic!("refused: {welcome:?}");
        };
        Self {
            wire,
            channel,
            welcome,
            next_id: 0,
            events: VecDeque::new(),
            answers: VecDeque::new(),
            goodbye: None,
        }
    }

    /// An event that came while something else was awaited.
    pub(crate) fn next_kept_event(&mut self) -> Option<Value> {
        self.events.pop_front()
    }

    /// Seals and sends a text as it is.
    pub(crate) async fn say(&mut self, text: &str) {
        let mut messages = Vec::new();
        let channel = &mut self.channel;
        channel
            .gather(text.as_bytes(), |message| messages.push(message))
            .unwrap();
        channel.finish(|message| messages.push(message)).unwrap();
        for message in messages {
            self.wire.send(message).await;
        }
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        let text = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.say(&text.to_string()).await;
    }

    /// Sends a request; gives its id.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.next_id += 1;
        let text =
            json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        self.say(&text.to_string()).await;
        self.next_id
    }

    /// A request and its answer; others that come in between are kept.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params).await;
        self.answer(id).await
    }

    /// The answer to a request.
    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        if let Some(at) = self.answers.iter().position(|answer| answer["id"] == id) {
            return self.answers.remove(at).unwrap();
        }
        loop {
            let text = self.next_text().await.expect("an answer");
            if text["id"] == id {
                return text;
            }
            self.keep(text);
        }
    }

    /// The next text that is no event.
    pub(crate) async fn next_answer(&mut self) -> Value {
        if let Some(answer) = self.answers.pop_front() {
            return answer;
        }
        loop {
            let text = self.next_text().await.expect("an answer");
            self.keep(text);
            if let Some(answer) = self.answers.pop_front() {
                return answer;
            }
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let text = self.next_text().await.expect("an event");
            self.keep(text);
        }
    }

    fn keep(&mut self, text: Value) {
        if text["method"] == "session.event" {
            self.events.push_back(text["params"].clone());
        } else {
            self.answers.push_back(text);
        }
    }

    /// The next text, or how the connection ended.
    pub(crate) async fn next_text(&mut self) -> Result<Value, Ended> {
        let mut buffer = Vec::new();
        loop {
            let text = if self.channel.has_next() {
                self.channel.next(&mut buffer)
            } else {
                let message = self.wire.receive().await?;
                self.channel.open(&message, &mut buffer).unwrap()
            };
            if let Some(text) = text {
                let text: Value = serde_json::from_slice(text).unwrap();
                if text["method"] != "connection.closing" {
                    return Ok(text);
                }
                let reason = text["params"]["reason"].as_str();
                self.goodbye = reason.map(str::to_owned);
            }
        }
    }

    /// Whether the daemon serves this client.
    pub(crate) async fn is_served(&mut self) -> bool {
        self.call("system.ping", json!({})).await["result"]["serverTime"].is_i64()
    }

    pub(crate) async fn ended(&mut self) -> Ended {
        self.wire.ended().await
    }

    /// The last word inside the encryption, and the close code after it.
    pub(crate) async fn dismissed(&mut self) -> (Option<String>, Ended) {
        loop {
            if let Err(ended) = self.next_text().await {
                return (self.goodbye.take(), ended);
            }
        }
    }
}

/// A paired install and its first connection.
pub(crate) async fn paired(daemon: &TestDaemon) -> (Install, Client) {
    let install = Install::new();
    let offer = daemon.offer().await;
    let mut client = Attempt::of_offer(&offer, &install).connect().await;
    assert!(client.is_served().await);
    (install, client)
}

/// Sends bytes to a listener as they are; gives what it says until it closes.
pub(crate) async fn raw_http(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut said = Vec::new();
    // A reset after the answer is an end as well.
    let _ = within("the end of the answer", stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}
