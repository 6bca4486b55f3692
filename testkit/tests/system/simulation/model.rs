//! The reference daemon's state: a minimal implementation of the protocol's promises. It is the
//! oracle of a simulation: in the end a client must show its state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, Epoch, Hello, IntentId, ItemId, ItemKind, Reason, Resume,
    RpcReason, SessionEvent, SessionState, TimelineItem,
    error::RpcError,
    handshake::SessionWelcome,
    methods::{
        AgentCreated, AgentIntent, AgentRef, AgentsPage, CreateAgent, History, ListAgents,
        PromptSent, SendPrompt, name,
    },
    model::TurnStatus,
};
use bowline_testkit::peer::{Order, Replay, page};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Rows per page: few, so that every listing takes several pages.
const PAGE: usize = 3;
/// Items per page of history.
const ITEMS: usize = 8;
/// Connections of one session; above it the oldest is closed.
const LINKS: usize = 8;

/// A live connection of a session.
struct Link {
    id: u64,
    out: mpsc::UnboundedSender<Order>,
}

struct Session {
    replay: Replay,
    subscriptions: BTreeSet<AgentId>,
    links: Vec<Link>,
}

/// The promises of a welcome.
#[derive(Clone)]
pub(super) struct Promise {
    key: String,
    resume: Option<Resume>,
    pub(super) welcome: SessionWelcome,
}

/// An agent with its timeline.
pub(super) struct Agent {
    pub(super) summary: AgentSummary,
    pub(super) items: Vec<TimelineItem>,
    /// Lines that its turns have yet to print.
    todo: VecDeque<usize>,
    /// The open output item of the running turn.
    open: Option<usize>,
}

#[derive(Default)]
pub(super) struct Model {
    sessions: BTreeMap<String, Session>,
    outcomes: BTreeMap<(String, IntentId), (String, Result<String, RpcError>)>,
    /// Number of runs of each intent.
    pub(super) runs: BTreeMap<IntentId, u32>,
    pub(super) agents: Vec<Agent>,
    replay_events: usize,
    made: u64,
}

type Answer = Result<Value, RpcError>;

impl Model {
    /// A fresh daemon with replay logs of this many events.
    pub(super) fn new(replay_events: usize) -> Self {
        Self {
            replay_events,
            ..Self::default()
        }
    }

    fn uuid(&mut self) -> Uuid {
        self.made += 1;
        Uuid::from_u64_pair(7, self.made)
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn is_working(&self) -> bool {
        self.agents.iter().any(|agent| !agent.todo.is_empty())
    }

    /// The result that an attach with this hello will have. Changes nothing.
    pub(super) fn admit(&mut self, hello: &Hello) -> Promise {
        let key = hello.client_session_key.external().as_str().to_owned();
        let fresh = Replay::new(Epoch::from_uuid(self.uuid()), 0);
        let welcome = match (self.sessions.get(&key), &hello.resume) {
            (None, _) => fresh.welcome(SessionState::New),
            (Some(session), Some(resume)) if session.replay.covers(resume) => {
                session.replay.welcome(SessionState::Resumed)
            }
            (Some(_), _) => fresh.welcome(SessionState::Reset),
        };
        Promise {
            key,
            resume: hello.resume.clone(),
            welcome,
        }
    }

    /// Fulfils the promise, or refuses if no longer possible.
    pub(super) fn attach(
        &mut self,
        promise: &Promise,
        id: u64,
        out: mpsc::UnboundedSender<Order>,
    ) -> Result<(), Reason> {
        let Promise {
            key,
            resume,
            welcome,
        } = promise;
        let fresh = Replay::new(welcome.epoch.clone(), self.replay_events);
        match (welcome.state, self.sessions.get_mut(key)) {
            (SessionState::New, None) => {
                let session = Session {
                    replay: fresh,
                    subscriptions: BTreeSet::new(),
                    links: Vec::new(),
                };
                self.sessions.insert(key.clone(), session);
            }
            (SessionState::Reset, Some(session)) => {
                session.replay = fresh;
                for link in session.links.drain(..) {
                    let _ = link.out.send(Order::Close(Reason::ServerRestarting));
                }
            }
            (SessionState::Resumed, Some(session)) => {
                let resume = resume.as_ref();
                let resume = resume.filter(|resume| session.replay.covers(resume));
                let resume = resume.ok_or(Reason::ServerRestarting)?;
                for text in session.replay.after(resume.last_seq) {
                    let _ = out.send(Order::Say(text.clone()));
                }
            }
            (SessionState::New, Some(_)) | (SessionState::Reset | SessionState::Resumed, None) => {
                return Err(Reason::ServerRestarting);
            }
        }
        let links = &mut self.sessions.get_mut(key).unwrap().links;
        links.push(Link { id, out });
        if links.len() > LINKS {
            let oldest = links.remove(0);
            let _ = oldest.out.send(Order::Close(Reason::SessionCapacity));
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, promise: &Promise, id: u64) {
        if let Some(session) = self.sessions.get_mut(&promise.key) {
            session.links.retain(|link| link.id != id);
        }
    }

    /// The process died: only stored state remains. Running turns are interrupted.
    pub(super) fn crash(&mut self) {
        for session in self.sessions.values_mut() {
            session.links.clear();
        }
        for place in 0..self.agents.len() {
            if self.agents[place].open.is_some() {
                self.end_turn(place, TurnStatus::Interrupted);
            }
        }
    }

    /// The grace period of every session without a connection has ended.
    pub(super) fn expire(&mut self) {
        self.sessions.retain(|_, session| !session.links.is_empty());
    }

    /// An answer, if the session still exists.
    pub(super) fn call(&mut self, promise: &Promise, method: &str, params: &str) -> Answer {
        match method {
            name::SYSTEM_PING => Ok(json!({"serverTime": 0})),
            name::SYSTEM_INFO => Ok(json!({
                "serverId": super::daemon::server_id(), "name": "sim", "version": "0",
                "uptimeMs": 0, "capabilities": []
            })),
            name::AGENTS_LIST => self.list(promise, &read(params)?),
            name::AGENTS_HISTORY => self.history(promise, &read(params)?),
            name::AGENTS_SUBSCRIBE => {
                let params: AgentRef = read(params)?;
                self.place(&params.agent_id)?;
                let session = self.session(promise)?;
                session.subscriptions.insert(params.agent_id);
                Ok(json!({}))
            }
            name::AGENTS_UNSUBSCRIBE => {
                let params: AgentRef = read(params)?;
                self.session(promise)?
                    .subscriptions
                    .remove(&params.agent_id);
                Ok(json!({}))
            }
            name::AGENTS_CREATE => {
                let create: CreateAgent = read(params)?;
                self.intent(promise, create.intent_id, params, |model| {
                    value(&AgentCreated {
                        agent: model.create(create.title.unwrap_or_default()),
                    })
                })
            }
            name::AGENTS_SEND => {
                let send: SendPrompt = read(params)?;
                self.intent(promise, send.intent_id, params, |model| {
                    let place = model.place(&send.agent_id)?;
                    let item_id = model.prompt(place, &send.text, Some(send.intent_id));
                    value(&PromptSent { item_id })
                })
            }
            name::AGENTS_CANCEL => {
                let cancel: AgentIntent = read(params)?;
                self.intent(promise, cancel.intent_id, params, |model| {
                    let place = model.place(&cancel.agent_id)?;
                    if !model.agents[place].todo.is_empty() {
                        model.end_turn(place, TurnStatus::Cancelled);
                    }
                    Ok(json!({}))
                })
            }
            other => Err(RpcError::method_not_found(other)),
        }
    }

    /// BX-1: executes once, and stores the outcome with the effect.
    fn intent(
        &mut self,
        promise: &Promise,
        id: IntentId,
        params: &str,
        effect: impl FnOnce(&mut Self) -> Answer,
    ) -> Answer {
        let key = (promise.key.clone(), id);
        if let Some((before, outcome)) = self.outcomes.get(&key) {
            if before != params {
                return Err(RpcError::new(RpcReason::IntentConflict, "other parameters"));
            }
            return outcome
                .clone()
                .map(|text| serde_json::from_str(&text).unwrap());
        }
        *self.runs.entry(id).or_default() += 1;
        let answer = effect(self);
        let outcome = answer.clone().map(|value| value.to_string());
        self.outcomes.insert(key, (params.to_owned(), outcome));
        answer
    }

    fn session(&mut self, promise: &Promise) -> Result<&mut Session, RpcError> {
        self.sessions
            .get_mut(&promise.key)
            .ok_or_else(|| RpcError::new(RpcReason::Overloaded, "no session"))
    }

    fn seq(&mut self, promise: &Promise) -> Result<u64, RpcError> {
        Ok(self.session(promise)?.replay.last_seq())
    }

    fn place(&self, id: &AgentId) -> Result<usize, RpcError> {
        self.agents
            .iter()
            .position(|agent| agent.summary.id == *id)
            .ok_or_else(|| RpcError::new(RpcReason::NotFound, "no such agent"))
    }

    fn list(&mut self, promise: &Promise, params: &ListAgents) -> Answer {
        let from: usize = params
            .cursor
            .as_deref()
            .map_or(0, |cursor| cursor.parse().unwrap());
        let summary = |agent: &Agent| agent.summary.clone();
        let agents: Vec<_> = if params.newest_first {
            let rows = self.agents.iter().rev().skip(from).take(PAGE);
            rows.map(summary).collect()
        } else {
            let rows = self.agents.iter().skip(from).take(PAGE);
            rows.map(summary).collect()
        };
        let next = from + agents.len();
        value(&AgentsPage {
            next_cursor: (next < self.agents.len()).then(|| next.to_string()),
            agents,
            total: self.agents.len() as u64,
            seq: self.seq(promise)?,
        })
    }

    fn history(&mut self, promise: &Promise, params: &History) -> Answer {
        let place = self.place(&params.agent_id)?;
        let limit = params
            .limit
            .map_or(ITEMS, |limit| ITEMS.min(limit as usize));
        let seq = self.session(promise)?.replay.last_seq();
        let items = &self.agents[place].items;
        value(&page(items, params, limit, seq))
    }

    /// Creates an agent.
    pub(super) fn create(&mut self, title: String) -> AgentSummary {
        let summary = AgentSummary {
            id: AgentId::from_uuid(self.uuid()),
            title,
            provider: "model".into(),
            cwd: "/".into(),
            status: AgentStatus::Idle,
            created_at: 0,
            updated_at: 0,
            attention: None,
            intent_id: None,
        };
        self.agents.push(Agent {
            summary: summary.clone(),
            items: Vec::new(),
            todo: VecDeque::new(),
            open: None,
        });
        self.emit(
            None,
            &SessionEvent::AgentUpdated {
                agent: summary.clone(),
            },
        );
        summary
    }

    /// Accepts a prompt; a turn prints one line per byte of the prompt.
    pub(super) fn prompt(&mut self, place: usize, text: &str, intent: Option<IntentId>) -> ItemId {
        let id = self.append(place, ItemKind::User, |item| {
            item.text = text.to_owned();
            item.intent_id = intent;
        });
        self.agents[place].todo.push_back(text.len());
        self.stand(place);
        id
    }

    /// Advances every running turn by one line.
    pub(super) fn work(&mut self) {
        for place in 0..self.agents.len() {
            let Some(left) = self.agents[place].todo.front_mut() else {
                continue;
            };
            if *left == 0 {
                self.end_turn(place, TurnStatus::Completed);
                continue;
            }
            *left -= 1;
            let line = format!("line {left}\n");
            match self.agents[place].open {
                // Sometimes a new item starts, so that several items of a turn have grown.
                Some(open) if !line.len().is_multiple_of(7) => self.grow(place, open, &line),
                Some(_) | None => {
                    self.agents[place].open = Some(self.agents[place].items.len());
                    self.append(place, ItemKind::Output, |item| item.text = line);
                }
            }
        }
    }

    fn grow(&mut self, place: usize, open: usize, text: &str) {
        let agent = &mut self.agents[place];
        let item = &mut agent.items[open];
        item.text.push_str(text);
        let event = SessionEvent::TimelineDelta {
            agent_id: agent.summary.id.clone(),
            item_id: item.id.clone(),
            index: item.index,
            text: text.to_owned(),
        };
        let id = agent.summary.id.clone();
        self.emit(Some(&id), &event);
    }

    fn end_turn(&mut self, place: usize, status: TurnStatus) {
        self.append(place, ItemKind::TurnEnd, |item| item.status = Some(status));
        self.agents[place].open = None;
        self.agents[place].todo.pop_front();
        self.stand(place);
    }

    fn append(
        &mut self,
        place: usize,
        kind: ItemKind,
        fill: impl FnOnce(&mut TimelineItem),
    ) -> ItemId {
        let id = ItemId::from_uuid(self.uuid());
        let agent = &mut self.agents[place];
        let mut item = TimelineItem::new(id.clone(), agent.items.len() as u64, kind, 0);
        fill(&mut item);
        agent.items.push(item.clone());
        let agent_id = agent.summary.id.clone();
        let event = SessionEvent::TimelineAppended {
            agent_id: agent_id.clone(),
            item,
        };
        self.emit(Some(&agent_id), &event);
        id
    }

    /// Sends the agent's status to all sessions if it has changed.
    fn stand(&mut self, place: usize) {
        let agent = &mut self.agents[place];
        let status = if agent.todo.is_empty() {
            AgentStatus::Idle
        } else {
            AgentStatus::Running
        };
        agent.summary.updated_at += 1;
        agent.summary.status = status;
        let agent = agent.summary.clone();
        self.emit(None, &SessionEvent::AgentUpdated { agent });
    }

    /// Logs an event for every session concerned and sends it to their connections.
    fn emit(&mut self, subscribers_of: Option<&AgentId>, event: &SessionEvent) {
        for session in self.sessions.values_mut() {
            if subscribers_of.is_some_and(|agent| !session.subscriptions.contains(agent)) {
                continue;
            }
            let text = session.replay.append(event.clone());
            for link in &session.links {
                let _ = link.out.send(Order::Say(text.clone()));
            }
        }
    }
}

fn read<T: DeserializeOwned>(params: &str) -> Result<T, RpcError> {
    serde_json::from_str(params).map_err(|error| RpcError::invalid_params(error.to_string()))
}

fn value<T: Serialize>(result: &T) -> Answer {
    Ok(serde_json::to_value(result).unwrap())
}
