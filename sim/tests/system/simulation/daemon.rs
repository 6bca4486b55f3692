//! The reference daemon's process: connections with the real handshake and sealing in front of a [`Model`]. It
//! can be killed and started again; it answers out of order, and now and then it has no time.

use std::{
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::Duration,
};

use bowline_protocol::{
    DaemonIdentity, Hello, Offer, Purpose, Reason, Refusal, RpcReason, ServerId, TransportKey,
    Welcome,
    error::RpcError,
    handshake::{Accepted, WelcomeLimits},
    limits::{HANDSHAKE_DEADLINE, HEARTBEAT, MAX_IN_FLIGHT, MAX_MESSAGE_BYTES},
    methods::name,
    offer::PairingToken,
    rpc::{self, Id, Incoming, Text},
    seal::{Channel, Responder},
};
use bowline_sim::random::Random;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    model::{Model, Out, Promise},
    network::{Frame, Wire},
};

/// A connection from which nothing was heard so long is closed, as the real daemon does.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) struct Daemon {
    state: Mutex<State>,
}

struct State {
    model: Model,
    /// Counts processes; what belongs to an earlier one is dead.
    process: u64,
    up: bool,
    connections: u64,
}

/// Made once: deriving them costs more than a handshake.
static IDENTITY: LazyLock<ServerId> = LazyLock::new(|| {
    let identity = DaemonIdentity::from_seed([5; 32]).unwrap();
    identity.server_id().clone()
});
static TRANSPORT_KEY: LazyLock<TransportKey> =
    LazyLock::new(|| TransportKey::from_private([6; 32]));

pub(super) fn server_id() -> ServerId {
    IDENTITY.clone()
}

/// An offer with those addresses. The model pairs with whoever comes.
pub(super) fn offer(addresses: &[&str]) -> Offer {
    Offer {
        server_id: server_id(),
        transport_key: TRANSPORT_KEY.public(),
        token: PairingToken::from_bytes([9; 16]),
        name: "sim".into(),
        direct: addresses
            .iter()
            .map(|address| (*address).to_owned())
            .collect(),
        relays: Vec::new(),
    }
}

impl Daemon {
    pub(super) fn new(replay_events: usize) -> Self {
        let model = Model::new(replay_events);
        Self {
            state: Mutex::new(State {
                model,
                process: 0,
                up: true,
                connections: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Looks at the state or changes it.
    pub(super) fn model<R>(&self, with: impl FnOnce(&mut Model) -> R) -> R {
        with(&mut self.state().model)
    }

    pub(super) fn is_up(&self) -> bool {
        self.state().up
    }

    /// kill -9.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.process += 1;
        state.up = false;
        state.model.crash();
    }

    pub(super) fn start(&self) {
        self.state().up = true;
    }

    /// A socket has come; false if nobody listens.
    pub(super) fn accept(self: &Arc<Self>, wire: Wire, seed: u64) -> bool {
        let mut state = self.state();
        if !state.up {
            return false;
        }
        state.connections += 1;
        let connection = Connection {
            daemon: Arc::clone(self),
            process: state.process,
            id: state.connections,
            wire,
            random: Random::new(seed),
        };
        tokio::spawn(connection.serve());
        true
    }
}

struct Connection {
    daemon: Arc<Daemon>,
    process: u64,
    id: u64,
    wire: Wire,
    random: Random,
}

impl Connection {
    /// The state, unless this connection's process is dead.
    fn alive(&self) -> Option<MutexGuard<'_, State>> {
        alive(&self.daemon, self.process)
    }

    async fn serve(mut self) {
        let Ok(Some(agreed)) = timeout(HANDSHAKE_DEADLINE, self.agree()).await else {
            return;
        };
        let (hello, promise, mut channel) = agreed;
        if hello.purpose == Purpose::Probe {
            self.probe(&mut channel).await;
            return;
        }
        let (out, outbox) = mpsc::unbounded_channel();
        let attached = match self.alive() {
            Some(mut state) => state.model.attach(&promise, self.id, out.clone()),
            None => return,
        };
        if let Err(reason) = attached {
            self.wire.send(Frame::Close(reason));
            return;
        }
        self.run(&promise, &mut channel, &out, outbox).await;
        if let Some(mut state) = self.alive() {
            state.model.detach(&promise, self.id);
        }
    }

    /// Hello, welcome, first sealed message.
    async fn agree(&mut self) -> Option<(Hello, Promise, Channel)> {
        let mut responder = Responder::new(&TRANSPORT_KEY, &server_id()).unwrap();
        let message = self.receive().await?;
        let (_, payload) = responder
            .read_hello(&message)
            .expect("a hello for this daemon");
        let hello = Hello::parse(&payload).expect("a hello");
        let promise = self.alive()?.model.admit(&hello);
        if self.random.below(24) == 0 {
            // Busy: come back later, and not before.
            let mut refusal = Refusal::new(Reason::RateLimited, "too many at once");
            refusal.retry_after_ms = Some(self.random.below(3_000));
            let (message, _) = responder
                .write_welcome(&Welcome::Refused(refusal), MAX_MESSAGE_BYTES as usize)
                .unwrap();
            self.wire.send(Frame::Data(message.into()));
            self.wire.send(Frame::Close(Reason::RateLimited));
            return None;
        }
        let welcome = Welcome::Accepted(Accepted {
            server_id: server_id(),
            server_name: "sim".into(),
            version: "0".into(),
            session: (hello.purpose == Purpose::Session).then(|| promise.welcome.clone()),
            heartbeat_ms: u32::try_from(HEARTBEAT.as_millis()).unwrap(),
            limits: WelcomeLimits {
                max_message_bytes: MAX_MESSAGE_BYTES,
                max_in_flight: MAX_IN_FLIGHT,
            },
            capabilities: Vec::new(),
        });
        let (message, mut channel) = responder
            .write_welcome(&welcome, MAX_MESSAGE_BYTES as usize)
            .unwrap();
        self.wire.send(Frame::Data(message.into()));
        let message = self.receive().await?;
        let mut buffer = Vec::new();
        channel.open(&message, &mut buffer).expect("session.ready");
        Some((hello, promise, channel))
    }

    async fn receive(&mut self) -> Option<bytes::Bytes> {
        match self.wire.inn.recv().await? {
            Frame::Data(bytes) => Some(bytes),
            Frame::Close(_) => None,
        }
    }

    async fn probe(&mut self, channel: &mut Channel) {
        while let Ok(Some(message)) = timeout(SILENCE, self.receive()).await {
            if self.alive().is_none() {
                return;
            }
            let mut buffer = Vec::new();
            let Ok(Some(text)) = channel.open(&message, &mut buffer) else {
                return;
            };
            let Ok(Text::Single(Incoming::Request(request))) = rpc::parse(text) else {
                continue;
            };
            assert_eq!(
                request.method, "system.ping",
                "INV-8: a probe calls nothing else"
            );
            let mut answer = Vec::new();
            rpc::write_response(&mut answer, &request.id, r#"{"serverTime":0}"#);
            self.send(channel, &answer);
        }
    }

    fn send(&self, channel: &mut Channel, text: &[u8]) {
        channel
            .seal(text, &mut Vec::new(), |message| {
                self.wire.send(Frame::Data(message.into()));
            })
            .unwrap();
    }

    async fn run(
        &mut self,
        promise: &Promise,
        channel: &mut Channel,
        out: &mpsc::UnboundedSender<Out>,
        mut outbox: mpsc::UnboundedReceiver<Out>,
    ) {
        loop {
            tokio::select! {
                biased;
                next = outbox.recv() => match next {
                    Some(Out::Text(text)) => self.send(channel, &text),
                    Some(Out::Close(reason)) => {
                        self.wire.send(Frame::Close(reason));
                        return;
                    }
                    None => return,
                },
                message = timeout(SILENCE, self.wire.inn.recv()) => {
                    let Ok(Some(Frame::Data(message))) = message else { return };
                    if self.alive().is_none() {
                        return;
                    }
                    let mut buffer = Vec::new();
                    let text = channel.open(&message, &mut buffer).expect("what was sealed opens");
                    if let Some(text) = text {
                        self.take(promise, text, out);
                    }
                }
            }
        }
    }

    /// Takes a request; it runs a little later, and is answered later still.
    fn take(&mut self, promise: &Promise, text: &[u8], out: &mpsc::UnboundedSender<Out>) {
        let Ok(Text::Single(incoming)) = rpc::parse(text) else {
            panic!("a client of ours sends single well-formed messages");
        };
        let Incoming::Request(request) = incoming else {
            // Acknowledgements: the model keeps its log by size alone.
            return;
        };
        let (id, method) = (request.id.into_owned(), request.method.into_owned());
        let params = request
            .params
            .map_or("{}", |params| params.get())
            .to_owned();
        let (daemon, process) = (Arc::clone(&self.daemon), self.process);
        let (promise, out) = (promise.clone(), out.clone());
        let before = Duration::from_millis(self.random.below(6));
        let after = Duration::from_millis(self.random.below(30));
        // A load of many pages begins again when one of them fails, so pages seldom do: a bound on how soon
        // everything is well could not be given otherwise.
        let seldom = if method == name::AGENTS_HISTORY {
            400
        } else {
            24
        };
        let overloaded = self.random.below(seldom) == 0;
        tokio::spawn(async move {
            sleep(before).await;
            let answer = match alive(&daemon, process) {
                Some(_) if overloaded => Err(RpcError::new(RpcReason::Overloaded, "send it again")),
                Some(mut state) => state.model.call(&promise, &method, &params),
                None => return,
            };
            sleep(after).await;
            if alive(&daemon, process).is_some() {
                let _ = out.send(Out::Text(written(&id, answer)));
            }
        });
    }
}

fn written(id: &Id<'_>, answer: Result<serde_json::Value, RpcError>) -> Vec<u8> {
    let mut text = Vec::new();
    match answer {
        Ok(result) => rpc::write_response(&mut text, id, &result.to_string()),
        Err(error) => rpc::write_error(&mut text, id, &error),
    }
    text
}

fn alive(daemon: &Daemon, process: u64) -> Option<MutexGuard<'_, State>> {
    let state = daemon.state();
    (state.up && state.process == process).then_some(state)
}
