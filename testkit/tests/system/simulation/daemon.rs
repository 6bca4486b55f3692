//! The reference daemon's process: connections with the real handshake and sealing in front of a
//! [`Model`]. It can be killed and restarted, answers out of order, and is sometimes overloaded.

use std::{
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::Duration,
};

use bowline_protocol::{
    Hello, Offer, Purpose, Reason, Refusal, RpcReason, ServerId, Welcome,
    error::RpcError,
    limits::HANDSHAKE_DEADLINE,
    methods::name,
    rpc::{self, Incoming, Text},
};
use bowline_testkit::{
    peer::{self, Keys, NoPeer, Order, Peer},
    random::Random,
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    model::{Model, Promise},
    network::Wire,
};

/// A connection silent for this long is closed, as by the real daemon.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) struct Daemon {
    state: Mutex<State>,
}

struct State {
    model: Model,
    /// Counts processes; connections of an earlier process are dead.
    process: u64,
    up: bool,
    /// Never overloaded: no request is refused or delayed.
    calm: bool,
    connections: u64,
}

/// Created once: deriving them costs more than a handshake.
static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::new([5; 32], [6; 32], [9; 16]));

pub(super) fn server_id() -> ServerId {
    KEYS.identity.server_id().clone()
}

/// An offer with these addresses. The model pairs with any client.
pub(super) fn offer(addresses: &[&str]) -> Offer {
    Offer {
        server_id: server_id(),
        transport_key: KEYS.transport.public(),
        token: KEYS.token.clone(),
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
                calm: false,
                connections: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Reads or changes the state.
    pub(super) fn model<R>(&self, with: impl FnOnce(&mut Model) -> R) -> R {
        with(&mut self.state().model)
    }

    /// Stops refusing and delaying requests.
    pub(super) fn calm(&self) {
        self.state().calm = true;
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

    /// Accepts a socket; false if nothing listens.
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
            random: Random::new(seed),
        };
        tokio::spawn(connection.serve(wire));
        true
    }
}

struct Connection {
    daemon: Arc<Daemon>,
    process: u64,
    id: u64,
    random: Random,
}

impl Connection {
    /// The state, unless this connection's process is dead.
    fn alive(&self) -> Option<MutexGuard<'_, State>> {
        alive(&self.daemon, self.process)
    }

    async fn serve(mut self, wire: Wire) {
        let Ok(Some((mut peer, promise))) = timeout(HANDSHAKE_DEADLINE, self.agree(wire)).await
        else {
            return;
        };
        let (out, mut orders) = mpsc::unbounded_channel();
        if peer.hello.purpose == Purpose::Probe {
            let probed = |_: &Hello, text: &[u8]| self.alive().is_some() && probe(text, &out);
            peer.run(&mut orders, SILENCE, probed).await;
            return;
        }
        let attached = match self.alive() {
            Some(mut state) => state.model.attach(&promise, self.id, out.clone()),
            None => return,
        };
        if let Err(reason) = attached {
            peer.close(reason);
            return;
        }
        let serving = peer.run(&mut orders, SILENCE, |_, text| {
            let alive = self.alive().is_some();
            if alive {
                self.take(&promise, text, &out);
            }
            alive
        });
        serving.await;
        if let Some(mut state) = self.alive() {
            state.model.detach(&promise, self.id);
        }
    }

    /// Hello, welcome, first sealed message.
    async fn agree(&mut self, wire: Wire) -> Option<(Peer<Wire>, Promise)> {
        let mut promise = None;
        let accepted = Peer::accept(wire, &KEYS, |hello| {
            let promised = self.alive()?.model.admit(hello);
            if self.random.below(24) == 0 && !self.alive()?.calm {
                // Busy: the client must come back later, not sooner.
                let mut refusal = Refusal::new(Reason::RateLimited, "too many at once");
                refusal.retry_after_ms = Some(self.random.below(3_000));
                return Some(Welcome::Refused(refusal));
            }
            let session = (hello.purpose == Purpose::Session).then(|| promised.welcome.clone());
            promise = Some(promised);
            let welcome = peer::accepted(server_id(), "sim", session);
            Some(Welcome::Accepted(welcome))
        });
        let mut peer = match accepted.await {
            Ok(peer) => peer,
            Err(NoPeer::WrongKey) => panic!("a hello for another daemon"),
            Err(NoPeer::Gone | NoPeer::Refused | NoPeer::Paired) => return None,
        };
        peer.hear().await?;
        Some((peer, promise?))
    }

    /// Takes a request, which runs after a short delay and is answered after another.
    fn take(&mut self, promise: &Promise, text: &[u8], out: &mpsc::UnboundedSender<Order>) {
        let Ok(Text::Single(incoming)) = rpc::parse(text) else {
            panic!("clients send single well-formed messages");
        };
        let Incoming::Request(request) = incoming else {
            // Acknowledgements: the model limits its log only by size.
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
        // A load of many pages restarts when one of them fails, so pages rarely do: otherwise
        // recovery time could not be bounded.
        let seldom = if method == name::AGENTS_HISTORY {
            400
        } else {
            24
        };
        let overloaded = self.random.below(seldom) == 0 && !self.daemon.state().calm;
        tokio::spawn(async move {
            sleep(before).await;
            let answer = match alive(&daemon, process) {
                Some(_) if overloaded => Err(RpcError::new(RpcReason::Overloaded, "send it again")),
                Some(mut state) => state.model.call(&promise, &method, &params),
                None => return,
            };
            sleep(after).await;
            if alive(&daemon, process).is_some() {
                let _ = out.send(Order::Say(peer::answer(&id, &answer)));
            }
        });
    }
}

/// Answers a probe's ping.
fn probe(text: &[u8], out: &mpsc::UnboundedSender<Order>) -> bool {
    if let Ok(Text::Single(Incoming::Request(request))) = rpc::parse(text) {
        assert_eq!(
            request.method, "system.ping",
            "INV-8: a probe calls nothing else"
        );
        let answer = peer::answer(&request.id, &Ok(json!({"serverTime": 0})));
        let _ = out.send(Order::Say(answer));
    }
    true
}

fn alive(daemon: &Daemon, process: u64) -> Option<MutexGuard<'_, State>> {
    let state = daemon.state();
    (state.up && state.process == process).then_some(state)
}
