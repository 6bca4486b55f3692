//! A daemon with one in-memory session, controlled by the test: mutes methods, refuses,
//! disconnects, loses state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bowline_protocol::{
    AgentSummary, Hello, Purpose, Reason, Refusal, SessionEvent, SessionState, TimelineItem,
    Welcome, error::RpcError,
};
use bowline_testkit::peer::{Keys, Order, Replay, accepted};
use tokio::sync::mpsc;

use crate::{
    net::Net,
    rig::{epoch, server_id},
    serving,
    table::Table,
    topics::Topic,
};

/// State and settings of the daemon.
pub(crate) struct State {
    pub(crate) keys: Arc<Keys>,
    epoch: u8,
    /// The session's events, from number 1.
    pub(crate) replay: Replay,
    pub(crate) agents: Vec<AgentSummary>,
    pub(crate) items: Vec<TimelineItem>,
    pub(crate) subscribed: BTreeSet<String>,
    pub(crate) table: Table,
    pub(crate) topic: Topic,
    /// Executed intents.
    pub(crate) done: BTreeSet<String>,
    /// Every received intent, in order, with the address it arrived at.
    pub(crate) arrivals: Vec<(String, String)>,
    /// Every received hello, in order, with the address it arrived at.
    pub(crate) hellos: Vec<(String, Hello)>,
    pub(crate) requests: BTreeMap<String, usize>,
    pub(crate) acks: Vec<u64>,
    /// Unanswered methods.
    pub(crate) mute: BTreeSet<&'static str>,
    /// Methods with delayed answers.
    pub(crate) delay: BTreeMap<&'static str, Duration>,
    /// Methods answered with an error.
    pub(crate) errors: BTreeMap<&'static str, RpcError>,
    /// The agent returned by the next creation.
    pub(crate) creates: Option<AgentSummary>,
    /// Addresses where a third party closes every connection in clear, with a reason not from the
    /// daemon.
    pub(crate) claims: BTreeMap<String, Reason>,
    /// Addresses that refuse hellos.
    pub(crate) refuse: BTreeMap<String, Reason>,
    connections: Vec<Attached>,
}

/// A connection attached to the session.
struct Attached {
    address: String,
    out: mpsc::UnboundedSender<Order>,
}

#[derive(Clone)]
pub(crate) struct Daemon(Arc<Mutex<State>>);

impl Daemon {
    pub(crate) fn new(keys: Keys) -> Self {
        Self(Arc::new(Mutex::new(State {
            keys: Arc::new(keys),
            epoch: 1,
            replay: Replay::new(epoch(1), usize::MAX),
            agents: Vec::new(),
            items: Vec::new(),
            subscribed: BTreeSet::new(),
            table: Table::default(),
            topic: Topic::default(),
            done: BTreeSet::new(),
            arrivals: Vec::new(),
            hellos: Vec::new(),
            requests: BTreeMap::new(),
            acks: Vec::new(),
            mute: BTreeSet::new(),
            delay: BTreeMap::new(),
            errors: BTreeMap::new(),
            creates: None,
            claims: BTreeMap::new(),
            refuse: BTreeMap::new(),
            connections: Vec::new(),
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn listen(&self, net: &Net, address: &str) {
        let mut incoming = net.listen(address);
        let (daemon, address) = (self.clone(), address.to_owned());
        tokio::spawn(async move {
            while let Some(end) = incoming.recv().await {
                tokio::spawn(serving::serve(daemon.clone(), address.clone(), end));
            }
        });
    }

    /// Records an event and sends it to every attached connection.
    pub(crate) fn happens(&self, event: SessionEvent) {
        let mut state = self.state();
        match &event {
            SessionEvent::AgentUpdated { agent } => {
                state.agents.retain(|known| known.id != agent.id);
                state.agents.push(agent.clone());
            }
            SessionEvent::TimelineAppended { item, .. } => state.items.push(item.clone()),
            SessionEvent::TimelineDelta { index, text, .. } => {
                state.items[usize::try_from(*index).unwrap()]
                    .text
                    .push_str(text);
            }
            _ => {}
        }
        if let SessionEvent::TableChanged(event) = &event {
            state.table.apply(event);
            if state.table.followed_since.is_none() {
                return;
            }
        }
        if matches!(event, SessionEvent::TopicEvent(_)) && state.topic.followed_since.is_none() {
            return;
        }
        let text = state.replay.append(event);
        state
            .connections
            .retain(|one| one.out.send(Order::Say(text.clone())).is_ok());
    }

    /// Ends every connection of an address.
    pub(crate) fn cut(&self, address: &str, reason: Reason) {
        let mut state = self.state();
        state.connections.retain(|one| {
            let is_it = one.address == address;
            if is_it {
                let _ = one.out.send(Order::Close(reason));
            }
            !is_it
        });
    }

    /// Sends a sealed close on every connection of an address and ends it.
    pub(crate) fn dismiss(&self, address: &str, reason: Reason) {
        let mut text = Vec::new();
        bowline_protocol::Closing::from(reason).write(&mut text);
        for one in &self.state().connections {
            if one.address == address {
                let _ = one.out.send(Order::Say(text.clone()));
            }
        }
        self.cut(address, reason);
    }

    /// Creates an agent once, with its event before the answer.
    pub(crate) fn create(&self) {
        let made = {
            let state = self.state();
            let made = state.creates.clone();
            made.filter(|made| state.agents.iter().all(|known| known.id != made.id))
        };
        if let Some(agent) = made {
            self.happens(SessionEvent::AgentUpdated { agent });
        }
    }

    /// Number of attached connections of an address.
    pub(crate) fn attached(&self, address: &str) -> usize {
        let mut state = self.state();
        state.connections.retain(|one| !one.out.is_closed());
        let connections = state.connections.iter();
        connections.filter(|one| one.address == address).count()
    }

    pub(crate) fn requests(&self, method: &str) -> usize {
        self.state().requests.get(method).copied().unwrap_or(0)
    }
}

impl State {
    /// The answer to a hello and the last event that the client has.
    pub(crate) fn welcome(&mut self, address: &str, hello: &Hello) -> (Welcome, u64) {
        self.hellos.push((address.to_owned(), hello.clone()));
        if let Some(reason) = self.refuse.get(address) {
            let refusal = Refusal::new(*reason, "as told");
            return (Welcome::Refused(refusal), 0);
        }
        let resume = hello.resume.as_ref();
        let (state, after) = match resume.filter(|resume| self.replay.covers(resume)) {
            Some(resume) => (SessionState::Resumed, resume.last_seq),
            None => (SessionState::Reset, self.replay.last_seq()),
        };
        let session = (hello.purpose == Purpose::Session).then(|| self.replay.welcome(state));
        let welcome = accepted(server_id(), "welcomed", session);
        (Welcome::Accepted(welcome), after)
    }

    /// Attaches a connection, starting after that event.
    pub(crate) fn attach(&mut self, address: &str, after: u64, out: &mpsc::UnboundedSender<Order>) {
        for text in self.replay.after(after) {
            let _ = out.send(Order::Say(text.clone()));
        }
        self.connections.push(Attached {
            address: address.to_owned(),
            out: out.clone(),
        });
    }

    /// Loses the session state: a new epoch without events.
    pub(crate) fn forget_session(&mut self) {
        self.epoch += 1;
        self.replay = Replay::new(epoch(self.epoch), usize::MAX);
        self.table.followed_since = None;
        self.topic.followed_since = None;
    }
}
