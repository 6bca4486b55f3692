//! The driver of one relay link: it selects, feeds the machine, does what the machine says, and decides nothing.

use std::{
    collections::{BTreeMap, HashMap},
    future::{pending, poll_fn},
    sync::Arc,
    time::Duration,
};

use bowline_machines::{
    Moment,
    relay::{Effect, Input, PeerEnd, PeerId, RelayConfig, RelayLink, State},
};
use bowline_protocol::{
    Reason, RouteKey,
    identity::short_hash,
    relay::{DataToken, RelayMessage, limits::HEARTBEAT},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    board::RelayEntry,
    control::{Control, News},
    dial::{Dialler, Failure},
    peer::{Orders, Peer, PeerNews},
    repeats::{Line, Repeats},
};
use crate::{config::RelayUrl, connection::Environment, observe};

/// News of peers that wait for the link; then peers wait, which happens at their beginning and their end only.
const PEER_NEWS: usize = 64;

/// What happened.
enum Event {
    Control(News),
    Peer(PeerNews),
    /// A peer's task is over.
    Over(Result<(Id, ()), JoinError>),
    Timer,
    Hurry,
    Stop(Reason),
}

/// One relay link.
pub(super) struct Link {
    relay: RelayUrl,
    entry: Arc<RelayEntry>,
    dialler: Dialler,
    environment: Arc<Environment>,
    places: Arc<Semaphore>,
    machine: RelayLink,
    zero: Instant,
    control: Option<Control>,
    /// What the relay last asked for, in force for new peers.
    heartbeat: Duration,
    token: Option<DataToken>,
    peers: BTreeMap<PeerId, Orders>,
    tasks: JoinSet<()>,
    /// Which peer each task is.
    by_task: HashMap<Id, PeerId>,
    news: mpsc::Receiver<PeerNews>,
    sender: mpsc::Sender<PeerNews>,
    stopping: watch::Receiver<Option<Reason>>,
    stopped: bool,
    /// What people are told about the end that the machine is about to hear of.
    message: Option<String>,
    repeats: Repeats,
}

impl Link {
    pub(super) fn new(
        relay: RelayUrl,
        entry: Arc<RelayEntry>,
        dialler: Dialler,
        environment: Arc<Environment>,
        places: Arc<Semaphore>,
        stopping: watch::Receiver<Option<Reason>>,
        seed: u64,
    ) -> Self {
        let (sender, news) = mpsc::channel(PEER_NEWS);
        Self {
            relay,
            entry,
            dialler,
            environment,
            places,
            machine: RelayLink::new(RelayConfig::new(seed)),
            zero: Instant::now(),
            control: None,
            heartbeat: HEARTBEAT,
            token: None,
            peers: BTreeMap::new(),
            tasks: JoinSet::new(),
            by_task: HashMap::new(),
            news,
            sender,
            stopping,
            stopped: false,
            message: None,
            repeats: Repeats::default(),
        }
    }

    /// Keeps the link until the daemon stops and the last peer has ended.
    pub(super) async fn run(self) {
        // With several relays, every line of the log says which.
        let span = info_span!("relay", url = self.relay.as_str());
        self.keep().instrument(span).await;
    }

    async fn keep(mut self) {
        self.feed(Input::Start);
        while !(self.stopped && self.tasks.is_empty()) {
            match self.next().await {
                Event::Control(news) => self.take_news(news),
                Event::Peer(PeerNews::Opened(peer)) => self.feed(Input::PeerOpened { peer }),
                Event::Peer(PeerNews::Ended(peer, end)) => {
                    self.feed(Input::PeerEnded { peer, end });
                }
                Event::Over(ended) => self.reap(ended),
                Event::Timer => {
                    let now = self.now();
                    self.machine.handle_timeout(now);
                    self.execute();
                }
                Event::Hurry => self.feed(Input::Hurry),
                Event::Stop(reason) => {
                    self.stopped = true;
                    self.feed(Input::Stop { reason });
                }
            }
        }
    }

    /// Waits for whatever comes first. Cancel-safe.
    async fn next(&mut self) -> Event {
        let due = self.machine.poll_timeout();
        let at = due.map(|due| self.zero + Duration::from_millis(due.as_millis()));
        let control = &mut self.control;
        tokio::select! {
            biased;
            reason = stop(&mut self.stopping), if !self.stopped => Event::Stop(reason),
            Some(ended) = self.tasks.join_next_with_id() => Event::Over(ended),
            Some(news) = self.news.recv() => Event::Peer(news),
            news = async {
                match control {
                    Some(control) => poll_fn(|cx| control.poll_news(cx)).await,
                    None => pending().await,
                }
            } => Event::Control(news),
            () = self.entry.hurried() => Event::Hurry,
            () = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            } => Event::Timer,
        }
    }

    fn take_news(&mut self, news: News) {
        let Some(generation) = self.control.as_ref().map(Control::generation) else {
            return;
        };
        if !matches!(news, News::Ended(_)) {
            self.feed(Input::Heard { generation });
        }
        let input = match news {
            News::Alive | News::Said(RelayMessage::Unknown) => return,
            News::Said(RelayMessage::Challenge { .. }) => Input::Challenged { generation },
            News::Said(RelayMessage::Registered {
                heartbeat_ms,
                data_token,
            }) => {
                self.heartbeat = Duration::from_millis(heartbeat_ms);
                self.token = Some(data_token);
                Input::Registered {
                    generation,
                    heartbeat: self.heartbeat,
                }
            }
            News::Said(RelayMessage::Sync { sessions }) => Input::Sync {
                generation,
                sessions,
            },
            News::Said(RelayMessage::SessionOpened { session }) => Input::SessionOpened {
                generation,
                session,
            },
            News::Said(RelayMessage::SessionClosed { session }) => Input::SessionClosed {
                generation,
                session,
            },
            News::Ended(Failure {
                reason,
                retry_after,
                message,
                ..
            }) => {
                self.message = Some(message);
                Input::Ended {
                    generation,
                    reason,
                    retry_after,
                }
            }
        };
        self.feed(input);
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(now, input);
        self.execute();
    }

    fn execute(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Connect { generation } => {
                    self.control = Some(Control::dial(generation, &self.dialler, &self.relay));
                }
                Effect::Answer => {
                    if let Some(control) = &mut self.control {
                        control.answer(&self.environment.identity, self.relay.token());
                    }
                }
                Effect::Ping => {
                    if let Some(control) = &mut self.control {
                        control.ping();
                    }
                }
                Effect::Disconnect { reason } => {
                    if let Some(control) = self.control.take() {
                        control.close(reason);
                    }
                }
                Effect::OpenPeer { peer, session } => self.open(peer, session),
                Effect::CheckPeer { peer } => {
                    if let Some(orders) = self.peers.get(&peer) {
                        orders.check();
                    }
                }
                // Without its orders a peer ends.
                Effect::ClosePeer { peer } => drop(self.peers.remove(&peer)),
            }
        }
        self.log();
    }

    fn open(&mut self, id: PeerId, session: RouteKey) {
        let Some(token) = self.token.clone() else {
            return;
        };
        debug!(
            peer = id.get(),
            session = short_hash(session.as_str()),
            "data socket"
        );
        let (orders, peer) = Peer::new(
            id,
            session,
            Arc::clone(&self.environment),
            Arc::clone(&self.places),
            Arc::clone(&self.entry),
            self.heartbeat,
            self.stopping.clone(),
        );
        let (dialler, relay) = (self.dialler.clone(), self.relay.clone());
        let task = peer.run(dialler, relay, token, self.sender.clone());
        let task = self.tasks.spawn(task.in_current_span());
        self.by_task.insert(task.id(), id);
        self.peers.insert(id, orders);
    }

    /// A task that ended in an orderly way has said so before.
    fn reap(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match &ended {
            Ok((task, ())) => *task,
            Err(error) => error.id(),
        };
        let Some(peer) = self.by_task.remove(&task) else {
            return;
        };
        self.peers.remove(&peer);
        if let Err(error) = ended {
            tracing::error!(%error, peer = peer.get(), "a data socket's task ended by itself");
            let end = PeerEnd::Lost {
                reason: Reason::ConnectionLost,
                retry_after: None,
            };
            self.feed(Input::PeerEnded { peer, end });
        }
    }

    /// The log, and what is shown.
    fn log(&mut self) {
        let wall = self.environment.clock.unix_millis();
        let server_id = self.environment.identity.server_id().clone();
        while let Some(transition) = self.machine.poll_transition() {
            if self.repeats.is_on() && transition.to != "registered" {
                observe::repeated(&server_id, &transition);
            } else {
                observe::transition(&server_id, "", &transition);
            }
            self.entry.stands(transition.to, wall);
            match (transition.to, transition.reason) {
                ("registered", _) => {
                    info!(relay = self.entry.url(), "registered with a relay");
                    if self.repeats.is_on() {
                        // There is a network again, perhaps for the others too.
                        self.environment.relays.hurry();
                    }
                    self.repeats.over();
                }
                ("waiting", Some(reason)) => {
                    let message = self.message.take();
                    let message = message.unwrap_or_else(|| silence(reason));
                    self.tell(reason, &message);
                    let shown = match advice(reason) {
                        Some(advice) => format!("{advice} ({message})"),
                        None => message,
                    };
                    self.entry.failed(reason, shown, wall);
                }
                _ => {}
            }
        }
        self.message = None;
        self.entry.sessions(self.machine.sessions());
        if !matches!(
            self.machine.state(),
            State::Connecting { .. } | State::Registered { .. }
        ) {
            self.control = None;
        }
    }

    /// Says that there is no registration: at first, when the reason changes, and then more and more rarely.
    fn tell(&mut self, reason: Reason, message: &str) {
        let now = self.now();
        let relay = self.entry.url();
        let next = match self.machine.state() {
            State::Waiting { until, .. } => until.since(now).as_secs(),
            _ => 0,
        };
        let words = match (self.repeats.failed(now, reason), advice(reason)) {
            (None, _) => return,
            (Some(Line::First), None) => {
                info!(relay, %reason, "no relay: {message}");
                return;
            }
            (Some(Line::First), Some(advice)) => format!("{advice}: {message}"),
            (Some(Line::Still { tries, lasting }), _) => format!(
                "still no relay after {tries} tries in {} min: {message}",
                lasting.as_secs() / 60
            ),
        };
        warn!(relay, %reason, "{words}; next try in {next} s");
    }

    fn now(&self) -> Moment {
        moment(self.zero)
    }
}

/// Milliseconds since `zero`, for machines.
pub(super) fn moment(zero: Instant) -> Moment {
    let elapsed = zero.elapsed().as_millis();
    Moment::from_millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
}

/// Ready once the daemon stops.
async fn stop(stopping: &mut watch::Receiver<Option<Reason>>) -> Reason {
    match stopping.wait_for(Option::is_some).await {
        Ok(reason) => reason.unwrap_or(Reason::ShuttingDown),
        // Whoever could stop us is gone without a word.
        Err(_) => Reason::ShuttingDown,
    }
}

/// What a link without a word from the relay ended by.
fn silence(reason: Reason) -> String {
    match reason {
        Reason::HandshakeTimeout => "it did not answer in time".to_owned(),
        Reason::HeartbeatTimeout => "it fell silent".to_owned(),
        Reason::BadRequest => "it does not keep to the protocol".to_owned(),
        other => other.to_string(),
    }
}

/// What its owner can do about a relay that will not have this daemon; `None` where waiting is all.
const fn advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::Replaced => {
            "another daemon with this identity is registered there: a copy of the state folder is in use, on another machine \
             perhaps; stop one of the two, or give it a state folder of its own"
        }
        Reason::RelayTokenInvalid => "the relay is private",
        Reason::IdentityMissing => "the relay does not accept this daemon's proof of identity",
        reason if reason.is_recoverable() => return None,
        _ => "the relay and this daemon do not understand each other",
    })
}
