//! A daemon that keeps one session in memory and does as the test says: mute methods, refuse, cut, forget.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bowline_protocol::{
    AgentSummary, Hello, Purpose, Reason, Refusal, SessionEvent, SessionState, TimelineItem,
    TransportKey, Welcome,
    error::RpcError,
    handshake::{Accepted, SessionWelcome, WelcomeLimits},
    methods::name,
    rpc,
    session_event::Sequenced,
};
use tokio::sync::mpsc;

use crate::{
    net::Net,
    rig::{epoch, server_id},
    serving,
};

/// What the daemon has and what it was told to do.
pub(crate) struct State {
    pub(crate) key: TransportKey,
    pub(crate) epoch: u8,
    /// The session's events, from number 1.
    pub(crate) events: Vec<SessionEvent>,
    pub(crate) agents: Vec<AgentSummary>,
    pub(crate) items: Vec<TimelineItem>,
    pub(crate) subscribed: BTreeSet<String>,
    /// Intents that were done.
    pub(crate) done: BTreeSet<String>,
    /// Every intent that arrived, in order, with the address it came to.
    pub(crate) arrivals: Vec<(String, String)>,
    /// Every hello, in order, with the address it came to.
    pub(crate) hellos: Vec<(String, Hello)>,
    pub(crate) requests: BTreeMap<String, usize>,
    pub(crate) acks: Vec<u64>,
    /// Methods that are not answered.
    pub(crate) mute: BTreeSet<&'static str>,
    /// Methods that are answered late.
    pub(crate) delay: BTreeMap<&'static str, Duration>,
    /// Methods that are answered with an error.
    pub(crate) errors: BTreeMap<&'static str, RpcError>,
    /// The agent that the next creation makes.
    pub(crate) creates: Option<AgentSummary>,
    /// Addresses where somebody else closes every connection in clear, with a reason that is not the daemon's.
    pub(crate) claims: BTreeMap<String, Reason>,
    /// Addresses where hellos are refused.
    pub(crate) refuse: BTreeMap<String, Reason>,
    connections: Vec<Attached>,
}

/// A connection that holds the session.
struct Attached {
    address: String,
    out: mpsc::UnboundedSender<Order>,
}

/// What a connection is told to do.
pub(crate) enum Order {
    Say(Vec<u8>),
    End(Reason),
}

#[derive(Clone)]
pub(crate) struct Daemon(Arc<Mutex<State>>);

impl Daemon {
    pub(crate) fn new(key: TransportKey) -> Self {
        Self(Arc::new(Mutex::new(State {
            key,
            epoch: 1,
            events: Vec::new(),
            agents: Vec::new(),
            items: Vec::new(),
            subscribed: BTreeSet::new(),
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

    /// Something happens, and everyone attached is told.
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
        state.events.push(event);
        let seq = state.events.len() as u64;
        let text = state.event_text(seq);
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
                let _ = one.out.send(Order::End(reason));
            }
            !is_it
        });
    }

    /// Says goodbye on every connection of an address, inside the encryption, and ends it.
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

    /// Makes an agent once, and tells of it before it is answered for.
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

    /// How many connections of an address hold the session.
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
    fn event_text(&self, seq: u64) -> Vec<u8> {
        let event = self.events[usize::try_from(seq).unwrap() - 1].clone();
        let mut text = Vec::new();
        let event = Sequenced { seq, event };
        rpc::write_notification(&mut text, name::SESSION_EVENT, &event).unwrap();
        text
    }

    /// What a hello is answered with; with it, the number of the last event that the client has.
    pub(crate) fn welcome(&mut self, address: &str, hello: &Hello) -> (Welcome, u64) {
        self.hellos.push((address.to_owned(), hello.clone()));
        if let Some(reason) = self.refuse.get(address) {
            let refusal = Refusal::new(*reason, "as told");
            return (Welcome::Refused(refusal), 0);
        }
        let next_seq = self.events.len() as u64 + 1;
        let ours = epoch(self.epoch);
        let resume = hello.resume.as_ref();
        let resume = resume.filter(|resume| resume.epoch == ours);
        let (state, after) = match resume {
            Some(resume) => (SessionState::Resumed, resume.last_seq),
            None => (SessionState::Reset, next_seq - 1),
        };
        let session = SessionWelcome {
            state,
            epoch: ours,
            next_seq,
            stamp: None,
        };
        let accepted = Accepted {
            server_id: server_id(),
            server_name: "welcomed".into(),
            version: "0".into(),
            session: (hello.purpose == Purpose::Session).then_some(session),
            heartbeat_ms: 4_000,
            limits: WelcomeLimits {
                max_message_bytes: 1 << 20,
                max_in_flight: 256,
            },
            capabilities: Vec::new(),
        };
        (Welcome::Accepted(accepted), after)
    }

    /// Lets a connection hold the session, from that event on.
    pub(crate) fn attach(&mut self, address: &str, after: u64, out: &mpsc::UnboundedSender<Order>) {
        for seq in after + 1..=self.events.len() as u64 {
            let _ = out.send(Order::Say(self.event_text(seq)));
        }
        self.connections.push(Attached {
            address: address.to_owned(),
            out: out.clone(),
        });
    }

    /// The daemon lost its state: another epoch, no events.
    pub(crate) fn forget_session(&mut self) {
        self.epoch += 1;
        self.events.clear();
    }
}
