//! The reference daemon's state: what the protocol says a daemon keeps, in the fewest words. It is the judge of
//! a simulation: what it has is what a client must show in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, Epoch, Hello, IntentId, ItemId, ItemKind, Reason, Resume,
    RpcReason, SessionEvent, SessionState, TimelineItem,
    error::RpcError,
    handshake::SessionWelcome,
    methods::{
        AgentCreated, AgentIntent, AgentRef, AgentsPage, CreateAgent, History, HistoryPage,
        ListAgents, PromptSent, SendPrompt, name,
    },
    model::TurnStatus,
    rpc,
    session_event::Sequenced,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Rows of one page: so few that every listing takes several.
const PAGE: usize = 3;
/// Items of one page of history.
const ITEMS: usize = 8;
/// Connections of one session; the oldest goes.
const LINKS: usize = 8;

/// What a connection is handed to send.
#[derive(Debug)]
pub(super) enum Out {
    Text(Vec<u8>),
    Close(Reason),
}

/// A live connection of a session.
struct Link {
    id: u64,
    out: mpsc::UnboundedSender<Out>,
}

struct Session {
    epoch: Epoch,
    next_seq: u64,
    log: VecDeque<(u64, Vec<u8>)>,
    subscriptions: BTreeSet<AgentId>,
    links: Vec<Link>,
}

impl Session {
    /// Whether everything after `resume` can still be replayed.
    fn covers(&self, resume: &Resume) -> bool {
        let first = self.log.front().map_or(self.next_seq, |(seq, _)| *seq);
        resume.epoch == self.epoch
            && resume.last_seq < self.next_seq
            && resume.last_seq + 1 >= first
    }
}

/// What a welcome promised.
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
    /// Lines that its turns are still to print.
    todo: VecDeque<usize>,
    /// The open output item of the running turn.
    open: Option<usize>,
}

#[derive(Default)]
pub(super) struct Model {
    sessions: BTreeMap<String, Session>,
    outcomes: BTreeMap<(String, IntentId), (String, Result<String, RpcError>)>,
    /// How often each intent ran.
    pub(super) runs: BTreeMap<IntentId, u32>,
    pub(super) agents: Vec<Agent>,
    replay_events: usize,
    made: u64,
}

type Answer = Result<Value, RpcError>;

impl Model {
    /// A daemon that never ran, with replay logs of so many events.
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

    /// What the attach of that hello will do. Changes nothing.
    pub(super) fn admit(&mut self, hello: &Hello) -> Promise {
        let key = hello.client_session_key.external().as_str().to_owned();
        let epoch = Epoch::from_uuid(self.uuid());
        let welcome = match (self.sessions.get(&key), &hello.resume) {
            (None, _) => SessionWelcome {
                state: SessionState::New,
                epoch,
                next_seq: 1,
                stamp: None,
            },
            (Some(session), Some(resume)) if session.covers(resume) => SessionWelcome {
                state: SessionState::Resumed,
                epoch: session.epoch.clone(),
                next_seq: session.next_seq,
                stamp: None,
            },
            (Some(_), _) => SessionWelcome {
                state: SessionState::Reset,
                epoch,
                next_seq: 1,
                stamp: None,
            },
        };
        Promise {
            key,
            resume: hello.resume.clone(),
            welcome,
        }
    }

    /// Does what was promised, or refuses if it cannot be done any more.
    pub(super) fn attach(
        &mut self,
        promise: &Promise,
        id: u64,
        out: mpsc::UnboundedSender<Out>,
    ) -> Result<(), Reason> {
        let Promise {
            key,
            resume,
            welcome,
        } = promise;
        match (welcome.state, self.sessions.get_mut(key)) {
            (SessionState::New, None) => {
                let session = Session {
                    epoch: welcome.epoch.clone(),
                    next_seq: 1,
                    log: VecDeque::new(),
                    subscriptions: BTreeSet::new(),
                    links: Vec::new(),
                };
                self.sessions.insert(key.clone(), session);
            }
            (SessionState::Reset, Some(session)) => {
                session.epoch = welcome.epoch.clone();
                session.next_seq = 1;
                session.log.clear();
                for link in session.links.drain(..) {
                    let _ = link.out.send(Out::Close(Reason::ServerRestarting));
                }
            }
            (SessionState::Resumed, Some(session)) => {
                let resume = resume.as_ref().filter(|resume| session.covers(resume));
                let resume = resume.ok_or(Reason::ServerRestarting)?;
                for (_, text) in session.log.iter().filter(|(seq, _)| *seq > resume.last_seq) {
                    let _ = out.send(Out::Text(text.clone()));
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
            let _ = oldest.out.send(Out::Close(Reason::SessionCapacity));
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, promise: &Promise, id: u64) {
        if let Some(session) = self.sessions.get_mut(&promise.key) {
            session.links.retain(|link| link.id != id);
        }
    }

    /// The process died: what is left is what was on disk. Turns that ran are interrupted.
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

    /// The grace of every session without a connection is over.
    pub(super) fn expire(&mut self) {
        self.sessions.retain(|_, session| !session.links.is_empty());
    }

    /// An answer, and whether it is of a session that is still there.
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

    /// BX-1: once, and the outcome with it.
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
        Ok(self.session(promise)?.next_seq - 1)
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
        let items = &self.agents[self.place(&params.agent_id)?].items;
        let limit = params
            .limit
            .map_or(ITEMS, |limit| ITEMS.min(limit as usize));
        let place = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        let (from, to, has_more) = match (params.after, params.before) {
            (Some(after), _) => {
                let from = place(after + 1).min(items.len());
                let to = (from + limit).min(items.len());
                (from, to, to < items.len())
            }
            (None, before) => {
                let to = before.map_or(items.len(), place).min(items.len());
                let from = to.saturating_sub(limit);
                (from, to, from > 0)
            }
        };
        let items = items[from..to].to_vec();
        value(&HistoryPage {
            items,
            has_more,
            seq: self.seq(promise)?,
        })
    }

    /// Makes an agent.
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

    /// Takes a prompt; a turn prints as many lines as the prompt has bytes.
    pub(super) fn prompt(&mut self, place: usize, text: &str, intent: Option<IntentId>) -> ItemId {
        let id = self.append(place, ItemKind::User, |item| {
            item.text = text.to_owned();
            item.intent_id = intent;
        });
        self.agents[place].todo.push_back(text.len());
        self.stand(place);
        id
    }

    /// Every running turn goes on by one line.
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
                // Sometimes another item begins, so that several of a turn have grown.
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

    /// Tells everybody how the agent stands, if that has changed.
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

    /// Into the log of every session concerned, and out to its connections.
    fn emit(&mut self, subscribers_of: Option<&AgentId>, event: &SessionEvent) {
        for session in self.sessions.values_mut() {
            if subscribers_of.is_some_and(|agent| !session.subscriptions.contains(agent)) {
                continue;
            }
            let seq = session.next_seq;
            session.next_seq += 1;
            let mut text = Vec::new();
            let event = event.clone();
            rpc::write_notification(&mut text, name::SESSION_EVENT, &Sequenced { seq, event })
                .unwrap();
            session.log.push_back((seq, text.clone()));
            if session.log.len() > self.replay_events {
                session.log.pop_front();
            }
            for link in &session.links {
                let _ = link.out.send(Out::Text(text.clone()));
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
