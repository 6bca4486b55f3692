//! A relay that does nothing by itself: a test says every word, rightly or wrongly.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bowline_protocol::{
    RouteKey, Welcome,
    limits::MAX_MESSAGE_BYTES,
    relay::{
        CONTROL_PATH, DATA_PATH, DaemonMessage, DataToken, Lane, LaneFrame, Nonce, Registration,
        RelayMessage, SESSION_PARAMETER, SUBPROTOCOL,
    },
    seal::Channel,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{HeaderValue, header},
        protocol::CloseFrame,
    },
};

use super::{client::Attempt, within};

type Socket = WebSocketStream<TcpStream>;

/// What a data socket is opened with, if a test says nothing else.
pub(crate) const TOKEN: [u8; 32] = [7; 32];

/// Sockets of a daemon, as they come.
pub(crate) struct FakeRelay {
    controls: mpsc::Receiver<FakeControl>,
    data: mpsc::Receiver<FakeData>,
    accepting: JoinHandle<()>,
}

impl Drop for FakeRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl FakeRelay {
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (control_sender, controls) = mpsc::channel(64);
        let (data_sender, data) = mpsc::channel(64);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (controls, data) = (control_sender.clone(), data_sender.clone());
                tokio::spawn(async move {
                    let (mut path, mut bearer) = (String::new(), None);
                    #[allow(clippy::result_large_err, reason = "as the library wants it")]
                    let note = |request: &Request, mut response: Response| {
                        path = request.uri().to_string();
                        let value = request.headers().get(header::AUTHORIZATION);
                        bearer = value.map(|value| value.to_str().unwrap().to_owned());
                        let protocol = HeaderValue::from_static(SUBPROTOCOL);
                        let headers = response.headers_mut();
                        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
                        Ok(response)
                    };
                    let Ok(socket) = accept_hdr_async(stream, note).await else {
                        return;
                    };
                    if path == CONTROL_PATH {
                        let _ = controls.send(FakeControl { socket }).await;
                        return;
                    }
                    let prefix = format!("{DATA_PATH}?{SESSION_PARAMETER}=");
                    let session = path.strip_prefix(&prefix).unwrap().parse().unwrap();
                    let token = DataToken::from_header(&bearer.unwrap()).unwrap();
                    assert_eq!(token, DataToken::from_bytes(TOKEN));
                    let _ = data.send(FakeData::new(session, socket)).await;
                });
            }
        });
        let fake = Self {
            controls,
            data,
            accepting,
        };
        (fake, address)
    }

    /// The next control socket, before anything was said.
    pub(crate) async fn control(&mut self) -> FakeControl {
        within("a control socket", self.controls.recv())
            .await
            .unwrap()
    }

    /// The next control socket, registered, without `sync`.
    pub(crate) async fn registered(&mut self) -> FakeControl {
        let mut control = self.control().await;
        let (nonce, registration) = control.challenge().await;
        assert_eq!(registration.verify(&nonce), Ok(()), "RL-5");
        control.accept().await;
        control
    }

    /// The next data socket.
    pub(crate) async fn data(&mut self) -> FakeData {
        within("a data socket", self.data.recv()).await.unwrap()
    }

    /// Whether no data socket comes for a while.
    pub(crate) async fn no_data(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.data.recv())
            .await
            .is_err()
    }
}

/// A daemon's control socket.
pub(crate) struct FakeControl {
    socket: Socket,
}

impl FakeControl {
    pub(crate) async fn say(&mut self, message: &RelayMessage) {
        let json = serde_json::to_string(message).unwrap();
        self.say_text(&json).await;
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        let _ = self.socket.send(Message::text(text.to_owned())).await;
    }

    /// Asks for the proof; what was signed, and the answer.
    pub(crate) async fn challenge(&mut self) -> (Nonce, Registration) {
        let nonce = Nonce::random().unwrap();
        self.say(&RelayMessage::Challenge { nonce }).await;
        loop {
            match within("the answer", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text).unwrap() {
                    DaemonMessage::Register(registration) => return (nonce, *registration),
                    DaemonMessage::Devices(_) | DaemonMessage::Unknown => {
                        panic!("not an answer: {text}")
                    }
                },
                Some(Ok(_)) => {}
                other => panic!("no answer: {other:?}"),
            }
        }
    }

    pub(crate) async fn accept(&mut self) {
        self.say(&RelayMessage::Registered {
            // Nobody reads what the daemon asks meanwhile.
            heartbeat_ms: 60_000,
            data_token: DataToken::from_bytes(TOKEN),
        })
        .await;
    }

    pub(crate) async fn sync(&mut self, sessions: &[RouteKey]) {
        let sessions = sessions.to_vec();
        self.say(&RelayMessage::Sync { sessions }).await;
    }

    pub(crate) async fn close(&mut self, code: u16, text: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: text.into(),
        };
        let _ = self.socket.close(Some(frame)).await;
    }

    /// How the daemon ends the socket.
    pub(crate) async fn ended(&mut self) -> Option<u16> {
        ended(&mut self.socket).await
    }
}

async fn ended(socket: &mut Socket) -> Option<u16> {
    loop {
        match within("the end", socket.next()).await {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

/// A daemon's data socket.
pub(crate) struct FakeData {
    pub(crate) session: RouteKey,
    socket: Socket,
    /// Everything that was carried, both ways.
    pub(crate) seen: Vec<u8>,
}

impl FakeData {
    const fn new(session: RouteKey, socket: Socket) -> Self {
        Self {
            session,
            socket,
            seen: Vec::new(),
        }
    }

    pub(crate) async fn say(&mut self, frame: LaneFrame) {
        self.say_bytes(frame.encode()).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: Bytes) {
        self.seen.extend_from_slice(&bytes);
        let _ = self.socket.send(Message::Binary(bytes)).await;
    }

    /// One message of a client.
    pub(crate) async fn carry(&mut self, lane: Lane, message: Vec<u8>) {
        let payload = message.into();
        self.say(LaneFrame::Data { lane, payload }).await;
    }

    pub(crate) async fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        let _ = self.socket.close(Some(frame)).await;
    }

    /// The next frame of the daemon.
    pub(crate) async fn hear(&mut self) -> LaneFrame {
        loop {
            match within("a frame", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => {
                    self.seen.extend_from_slice(&bytes);
                    return LaneFrame::decode(bytes).unwrap();
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame: {other:?}"),
            }
        }
    }

    /// The next message on that lane, or the code that the daemon closed it with; other lanes'
    /// frames are dropped.
    pub(crate) async fn hear_on(&mut self, wanted: Lane) -> Result<Bytes, u16> {
        loop {
            match self.hear().await {
                LaneFrame::Data { lane, payload } if lane == wanted => return Ok(payload),
                LaneFrame::Close { lane, code } if lane == wanted => return Err(code),
                _ => {}
            }
        }
    }

    /// How the daemon closes a lane, whatever it says before.
    pub(crate) async fn closed(&mut self, lane: Lane) -> u16 {
        loop {
            if let Err(code) = self.hear_on(lane).await {
                return code;
            }
        }
    }

    /// How the daemon ends the socket.
    pub(crate) async fn ended(&mut self) -> Option<u16> {
        ended(&mut self.socket).await
    }

    /// A client that comes on that lane, with its handshake done.
    pub(crate) async fn client(&mut self, attempt: &Attempt, lane: u32) -> LaneClient {
        let lane = Lane::new(lane);
        self.say(LaneFrame::Open { lane }).await;
        let (initiator, message) = attempt.message_1();
        self.carry(lane, message).await;
        let message = self.hear_on(lane).await.expect("a welcome");
        let read = initiator.read_welcome(&message, MAX_MESSAGE_BYTES as usize);
        let (welcome, channel) = read.unwrap();
        assert!(matches!(welcome, Welcome::Accepted(_)), "{welcome:?}");
        let mut client = LaneClient {
            lane,
            channel,
            last: 0,
        };
        let ready = json!({"jsonrpc": "2.0", "method": "session.ready", "params": {}});
        for message in client.seal(&ready) {
            self.carry(lane, message).await;
        }
        client
    }
}

/// The client at the other end of a lane.
pub(crate) struct LaneClient {
    pub(crate) lane: Lane,
    channel: Channel,
    last: u64,
}

impl LaneClient {
    fn seal(&mut self, text: &Value) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        let text = text.to_string();
        let channel = &mut self.channel;
        channel
            .gather(text.as_bytes(), |message| messages.push(message.to_vec()))
            .unwrap();
        channel
            .finish(|message| messages.push(message.to_vec()))
            .unwrap();
        messages
    }

    /// The sealed messages of a request, not yet carried anywhere.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Vec<Vec<u8>> {
        self.last += 1;
        let request =
            json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        self.seal(&request)
    }

    /// A request and its answer.
    pub(crate) async fn call(
        &mut self,
        data: &mut FakeData,
        method: &str,
        params: &Value,
    ) -> Result<Value, u16> {
        for message in self.request(method, params) {
            data.carry(self.lane, message).await;
        }
        self.answer(data).await
    }

    /// The answer to the last request.
    pub(crate) async fn answer(&mut self, data: &mut FakeData) -> Result<Value, u16> {
        let mut buffer = Vec::new();
        loop {
            let text = if self.channel.has_next() {
                self.channel.next(&mut buffer)
            } else {
                let message = data.hear_on(self.lane).await?;
                self.channel.open(&message, &mut buffer).unwrap()
            };
            if let Some(text) = text {
                let text: Value = serde_json::from_slice(text).unwrap();
                if text["id"] == self.last {
                    return Ok(text);
                }
            }
        }
    }

    pub(crate) async fn is_served(&mut self, data: &mut FakeData) -> bool {
        let answer = self.call(data, "system.ping", &json!({})).await;
        answer.is_ok_and(|answer| answer["result"]["serverTime"].is_i64())
    }
}
