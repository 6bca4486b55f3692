//! A client's copy of one host's data: the directory, the timelines, the screens over them, the
//! tables of services with what this client's intents are expected to change in them, their logs
//! and topics, and the messages and creations of this client that the daemon has not confirmed.
//!
//! Each of the seven is a machine of its own. This one routes every input to all machines that it
//! concerns, in one step: a row that confirms a creation reaches the directory and the creation
//! together, so an agent is shown either as a row or as a creation, never as both (UX-3).
//!
//! ```text
//!   attached, lost ─► all that is loaded     events  ─► directory, timeline, tables, logs, topics
//!   pages          ─► directory, creations           ─► creations
//!                  ─► timeline, table, log   intents ─► messages and creations
//!                     or topic               readers ─► screens, timelines, tables, logs, topics
//! ```

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bowline_protocol::{
    AgentId, AgentSummary, IntentId, Reason, Resume, SessionEvent, SessionState,
    live::{LogPage, TablePage},
    methods::AgentsPage,
};

use super::{
    cache::{Checkpoint, Kept, Manifest, Saver},
    directory::{self, Directory},
    lists::Opened,
    load::LoadError,
    logs::{self, LogEvent, LogView, Logs},
    open::{OpenId, TooMany},
    optimistic::{self, Optimistic},
    patches,
    screen::Connectivity,
    screens::{Content, Refusal, ScreenId, ScreenTarget, Screens, ScreensConfig, Sources},
    tables::{self, TableView, Tables},
    timeline,
    timelines::{Reader, Timelines, TimelinesConfig, TooManyOpen},
    topics::{self, TopicBatch, TopicStatus, Topics},
    view::TimelineView,
};
use crate::data::target::LiveTarget;
use crate::{Generation, MonotonicTime, Transition};

/// Inputs of a host's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The host's active client attached to the session.
    Attached {
        /// The welcome's session state.
        session: SessionState,
    },
    /// The active client lost its connection or failed to connect.
    Lost {
        /// The reason.
        reason: Reason,
    },
    /// The host is unreachable, so no list is being loaded. Repetitions have no effect.
    Unreachable {
        /// The reason.
        reason: Reason,
    },
    /// The session's next event.
    Event {
        /// Number of the event.
        seq: u64,
        /// The event.
        event: SessionEvent,
    },
    /// Fetch the directory again.
    Refresh,
    /// The result of [`Effect::LoadDirectory`].
    DirectoryPage {
        /// The load it belongs to.
        load: Generation,
        /// The page, or why there is none.
        result: Result<AgentsPage, LoadError>,
    },
    /// A reader's request, or a page, for one timeline.
    Timeline {
        /// The agent of the timeline.
        agent_id: AgentId,
        /// The input.
        input: timeline::Input,
    },
    /// A reader's request, or a page, for one table.
    Table {
        /// The table.
        id: OpenId,
        /// The input.
        input: tables::Input,
    },
    /// A reader's request, or a page, for one log.
    Log {
        /// The log.
        id: OpenId,
        /// The input.
        input: logs::Input,
    },
    /// The answer to [`topics::Effect::Open`].
    Topic {
        /// The topic.
        id: OpenId,
        /// The request that it answers.
        load: Generation,
        /// The answer, or why there is none.
        result: Result<TablePage, LoadError>,
    },
    /// An intent was queued, ended, or was dismissed by the user.
    Intent(optimistic::Input),
    /// The same, of an intent that is expected to change rows of tables or to add to logs.
    Patch(patches::Input),
    /// A [`Checkpoint`] was written, or could not be.
    Saved {
        /// Its number.
        number: u64,
        /// Whether it was written.
        is_written: bool,
    },
}

/// Effects for the driver, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Request `agents.list`, newest first, and report [`Input::DirectoryPage`]; without a
    /// connection at once, with [`LoadError::Lost`].
    LoadDirectory {
        /// Number of the load, to report with the result.
        load: Generation,
        /// Start of the page; `None` for the first.
        cursor: Option<String>,
    },
    /// An effect of one timeline.
    Timeline(AgentId, timeline::Effect),
    /// An effect of the tables.
    Table(tables::Effect),
    /// An effect of the logs.
    Log(logs::Effect),
    /// An effect of the topics.
    Topic(topics::Effect),
}

/// The data of one host.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    directory: Directory,
    timelines: Timelines,
    screens: Screens,
    tables: Tables,
    logs: Logs,
    topics: Topics,
    optimistic: Optimistic,
    saver: Saver,
    /// The event of the last checkpoint in this numbering.
    saved_at: Option<u64>,
}

impl Replica {
    /// No data; the arguments set the bounds.
    pub fn new(timelines: TimelinesConfig, screens: ScreensConfig) -> Self {
        Self {
            timelines: Timelines::new(timelines),
            screens: Screens::new(screens),
            ..Self::default()
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        match input {
            Input::Attached { session } => {
                if session != SessionState::Resumed {
                    self.saved_at = None;
                }
                let attached = directory::Input::Attached { session };
                self.directory.handle(now, attached);
                self.timelines.attached(now, session, &self.optimistic);
                self.tables.attached(now, session);
                self.logs.attached(now, session);
                self.topics.attached(now, session);
            }
            Input::Lost { reason } => {
                let lost = directory::Input::Disconnected { reason };
                self.directory.handle(now, lost);
                self.timelines.disconnected(now, reason, &self.optimistic);
                self.tables.disconnected(now, reason);
                self.logs.disconnected(now, reason);
                self.topics.disconnected(now, reason);
            }
            // The directory shows the error instead of a skeleton (DS-3).
            Input::Unreachable { reason } => {
                let unreachable = directory::Input::Unreachable { reason };
                self.directory.handle(now, unreachable);
                self.tables.unreachable(now, reason);
                self.logs.unreachable(now, reason);
                self.topics.unreachable(now, reason);
            }
            Input::Event { seq, event } => {
                self.event(now, seq, event);
                self.tables.passed(seq);
                self.logs.passed(seq);
            }
            Input::Refresh => self.directory.handle(now, directory::Input::Refresh),
            Input::DirectoryPage { load, result } => {
                let rows = result.iter().flat_map(|page| &page.agents);
                rows.for_each(|agent| note_row(&mut self.optimistic, agent));
                let page = directory::Input::Page { load, result };
                self.directory.handle(now, page);
            }
            Input::Timeline { agent_id, input } => self.timeline(now, &agent_id, input),
            Input::Table { id, input } => self.tables.handle(now, id, input),
            Input::Log { id, input } => self.logs.handle(now, id, input),
            Input::Topic { id, load, result } => self.topics.opened(now, id, load, result),
            Input::Intent(input) => self.optimistic.handle(input),
            Input::Patch(input) => {
                let (rows, items) = input.split();
                self.tables.patch(now, rows);
                self.logs.patch(now, items);
            }
            Input::Saved { number, is_written } => self.saver.ended(now, number, is_written),
        }
        self.settle_creations();
    }

    /// Call when [`Replica::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.directory.handle_timeout(now);
        self.timelines.handle_timeout(now, &self.optimistic);
        self.tables.handle_timeout(now);
        self.logs.handle_timeout(now);
        self.topics.handle_timeout(now);
        self.settle_creations();
    }

    /// When to call [`Replica::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        let directory = self.directory.poll_timeout();
        directory
            .into_iter()
            .chain(self.timelines.poll_timeout())
            .chain(self.tables.poll_timeout())
            .chain(self.logs.poll_timeout())
            .chain(self.topics.poll_timeout())
            .chain(self.saver.poll_timeout())
            .min()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if let Some(directory::Effect::Load { load, cursor }) = self.directory.poll_effect() {
            return Some(Effect::LoadDirectory { load, cursor });
        }
        if let Some((agent_id, effect)) = self.timelines.poll_effect() {
            return Some(Effect::Timeline(agent_id, effect));
        }
        if let Some(effect) = self.tables.poll_effect() {
            return Some(Effect::Table(effect));
        }
        if let Some(effect) = self.logs.poll_effect() {
            return Some(Effect::Log(effect));
        }
        self.topics.poll_effect().map(Effect::Topic)
    }

    /// The next transition record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        let directory = self.directory.poll_transition();
        directory
            .or_else(|| self.timelines.poll_transition())
            .or_else(|| self.tables.poll_transition())
            .or_else(|| self.logs.poll_transition())
            .or_else(|| self.topics.poll_transition())
    }

    /// Opens a screen. Call [`Replica::follow`] next.
    ///
    /// # Errors
    /// [`Refusal`] at the bound, or if the creation is unknown; nothing has changed then.
    pub fn open_screen(&mut self, target: ScreenTarget) -> Result<ScreenId, Refusal> {
        self.screens.open(target, &self.optimistic)
    }

    /// Closes a screen.
    pub fn close_screen(&mut self, id: ScreenId) {
        self.screens.close(id, &mut self.timelines);
    }

    /// Opens the timelines of screens whose agents are known by now. Screens beyond the bound on
    /// timelines are refused ([`Replica::poll_refused`]).
    pub fn follow(&mut self, now: MonotonicTime) {
        self.screens
            .follow(now, &mut self.timelines, &mut self.optimistic);
    }

    /// The next screen that was refused.
    pub fn poll_refused(&mut self) -> Option<(ScreenId, Refusal)> {
        self.screens.poll_refused()
    }

    /// Opens a timeline for a stream and returns its current view.
    ///
    /// # Errors
    /// [`TooManyOpen`] at the bound; nothing has changed then.
    pub fn open_stream(
        &mut self,
        now: MonotonicTime,
        agent_id: &AgentId,
    ) -> Result<Arc<TimelineView>, TooManyOpen> {
        self.timelines
            .open(now, agent_id, Reader::Stream, &self.optimistic)?;
        Ok(self.timelines.view(agent_id).cloned().unwrap_or_default())
    }

    /// The last stream of a timeline ended.
    pub fn streams_ended(&mut self, agent_id: &AgentId) {
        self.timelines.streams_ended(agent_id);
    }

    /// Opens a table for a reader, or returns the open one, and its current view.
    ///
    /// # Errors
    /// [`TooMany`] at the bound; nothing has changed then.
    pub fn open_table(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
    ) -> Result<(OpenId, Arc<TableView>), TooMany> {
        self.tables.open(now, target)
    }

    /// As [`Replica::open_table`]. A table that is not open yet begins with rows of an earlier run
    /// (LD-5), and has no view before the next publication.
    ///
    /// # Errors
    /// As [`Replica::open_table`].
    pub fn open_kept_table(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        kept: Option<Kept<TablePage>>,
    ) -> Result<Opened<TableView>, TooMany> {
        self.tables.open_kept(now, target, kept)
    }

    /// The open table with this target.
    pub fn table(&self, target: &LiveTarget) -> Option<OpenId> {
        self.tables.find(target)
    }

    /// The last reader of a table left.
    pub fn table_left(&mut self, id: OpenId) {
        self.saver.hurry();
        self.tables.left(id);
    }

    /// Whether a failure of this intent would be displayed: by a message, an agent, a row or
    /// an item.
    pub fn is_shown(&self, intent_id: IntentId) -> bool {
        self.optimistic.is_pending(intent_id)
            || self.tables.is_patched_by(intent_id)
            || self.logs.is_patched_by(intent_id)
    }

    /// Opens a log for a reader, or returns the open one, and its current view.
    ///
    /// # Errors
    /// [`TooMany`] at the bound; nothing has changed then.
    pub fn open_log(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
    ) -> Result<(OpenId, Arc<LogView>), TooMany> {
        self.logs.open(now, target)
    }

    /// As [`Replica::open_log`]. A log that is not open yet begins with items of an earlier run
    /// (LD-5), and has no view before the next publication.
    ///
    /// # Errors
    /// As [`Replica::open_log`].
    pub fn open_kept_log(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        kept: Option<Kept<LogPage>>,
    ) -> Result<Opened<LogView>, TooMany> {
        self.logs.open_kept(now, target, kept)
    }

    /// The open log with this target.
    pub fn log(&self, target: &LiveTarget) -> Option<OpenId> {
        self.logs.find(target)
    }

    /// The last reader of a log left.
    pub fn log_left(&mut self, id: OpenId) {
        self.saver.hurry();
        self.logs.left(id);
    }

    /// Whether tables and logs are kept for a later run of the app (LD-5). They are not until this
    /// is called.
    pub const fn keep_lists(&mut self, are_kept: bool) {
        self.saver.set_on(are_kept);
    }

    /// The app may be about to end: [`Replica::poll_checkpoint`] returns what is there without a
    /// pause.
    pub const fn hurry(&mut self) {
        self.saver.hurry();
    }

    /// Files may be used again after a pause of the app: what could not be written meanwhile is
    /// written soon.
    pub fn retry_saving(&mut self) {
        self.saver.retry();
    }

    /// What to write now, if anything, and report with [`Input::Saved`] (LD-5). Call it after every
    /// input, and before [`Replica::sweep`], which closes what nobody reads. `seq`: the last event
    /// that was fed, or 0; `position`: the same with its epoch.
    pub fn poll_checkpoint(
        &mut self,
        now: MonotonicTime,
        seq: u64,
        position: impl FnOnce() -> Option<Resume>,
    ) -> Option<Checkpoint> {
        let (tables, logs) = (&self.tables, &self.logs);
        let failures = self.saver.failures();
        let saved_at = self.saved_at;
        let is_dirty = || {
            // Without new rows, only the position is new.
            let new = (saved_at == Some(seq)).then_some(failures);
            let is_refused = tables.has_refused(failures) || logs.has_refused(failures);
            is_refused || tables.has_savable(seq, new) || logs.has_savable(seq, new)
        };
        if !self.saver.is_due(now, is_dirty) {
            return None;
        }
        let position = position()?;
        // A write whose deadline has passed has failed.
        let failures = self.saver.failures();
        let (mut lists, mut manifest) = (Vec::new(), Manifest::new(position.clone()));
        let mut refused = Vec::new();
        self.tables.drop_refused(failures, &mut refused);
        self.logs.drop_refused(failures, &mut refused);
        let tables = &mut self.tables;
        let bytes = tables.save(&position, failures, &mut lists, &mut manifest);
        let logs = &mut self.logs;
        let bytes = bytes + logs.save(&position, failures, &mut lists, &mut manifest);
        self.saved_at = Some(seq);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Some(Checkpoint {
            number: self.saver.begun(now, bytes),
            lists,
            refused,
            manifest,
        })
    }

    /// Opens a topic for a reader, or returns the open one, and how it is doing.
    ///
    /// # Errors
    /// [`TooMany`] at the bound; nothing has changed then.
    pub fn open_topic(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
    ) -> Result<(OpenId, TopicStatus), TooMany> {
        self.topics.open(now, target)
    }

    /// The last reader of a topic left.
    pub fn topic_left(&mut self, id: OpenId) {
        self.topics.left(id);
    }

    /// Closes timelines, tables, logs and topics without readers, and removes messages that no
    /// timeline will display. Call every few seconds.
    pub fn sweep(&mut self, now: MonotonicTime, connectivity: Connectivity) {
        self.timelines
            .sweep(now, connectivity, &mut self.optimistic);
        self.tables.sweep();
        self.logs.sweep();
        self.topics.sweep();
    }

    /// Builds the newest views, for [`Replica::poll_view`], [`Replica::poll_table_view`],
    /// [`Replica::poll_log_view`] and [`Replica::show`]; each that differs from its predecessor
    /// gets the next revision.
    pub fn publish(&mut self, connectivity: Connectivity, rev: &mut u64) {
        self.timelines.publish(&mut self.optimistic, rev);
        self.tables.publish(connectivity, rev);
        self.logs.publish(connectivity, rev);
    }

    /// The next view for the streams of an agent.
    pub fn poll_view(&mut self) -> Option<(AgentId, Arc<TimelineView>)> {
        self.timelines.poll_view()
    }

    /// The next view for the readers of a table.
    pub fn poll_table_view(&mut self) -> Option<(OpenId, Arc<TableView>)> {
        self.tables.poll_view()
    }

    /// The next view for the readers of a log.
    pub fn poll_log_view(&mut self) -> Option<(OpenId, Arc<LogView>)> {
        self.logs.poll_view()
    }

    /// The next batch for the readers of a topic.
    pub fn poll_topic_batch(&mut self) -> Option<(OpenId, TopicBatch)> {
        self.topics.poll_batch()
    }

    /// Content of a screen, as of the last publication; `None` if it is not open.
    pub fn show(&mut self, id: ScreenId, connectivity: Connectivity) -> Option<Content> {
        let sources = Sources {
            directory: &self.directory,
            timelines: &self.timelines,
            optimistic: &self.optimistic,
            connectivity,
        };
        self.screens.show(id, &sources)
    }

    /// The rows of the directory. Cheap if nothing has changed since the last call.
    pub fn agents(&mut self) -> Arc<[Arc<AgentSummary>]> {
        self.directory.agents()
    }

    /// The directory.
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The timelines that are open or kept.
    pub const fn timelines(&self) -> &Timelines {
        &self.timelines
    }

    /// The messages and creations that the daemon has not confirmed.
    pub const fn optimistic(&self) -> &Optimistic {
        &self.optimistic
    }

    /// Number of dropped results of loads that were over (INV-10).
    pub fn stale(&self) -> u64 {
        u64::from(self.directory.stale())
            + self.timelines.stale()
            + self.tables.stale()
            + self.logs.stale()
            + self.topics.stale()
    }

    fn event(&mut self, now: MonotonicTime, seq: u64, event: SessionEvent) {
        let (agent_id, happened) = match event {
            SessionEvent::AgentUpdated { agent } => {
                note_row(&mut self.optimistic, &agent);
                let input = directory::Input::AgentUpdated { seq, agent };
                return self.directory.handle(now, input);
            }
            SessionEvent::AgentRemoved { agent_id } => {
                let input = directory::Input::AgentRemoved { seq, agent_id };
                return self.directory.handle(now, input);
            }
            SessionEvent::TimelineAppended { agent_id, item } => {
                (agent_id, timeline::Happened::Appended(item))
            }
            SessionEvent::TimelineDelta {
                agent_id,
                item_id,
                index,
                text,
            } => {
                let delta = timeline::Happened::Delta {
                    item_id,
                    index,
                    text,
                };
                (agent_id, delta)
            }
            SessionEvent::TimelineUpdated { agent_id, item } => {
                (agent_id, timeline::Happened::Updated(item))
            }
            // The request is an item of the timeline; the row shows that one is waiting.
            SessionEvent::PermissionRequested { .. } | SessionEvent::Unknown => return,
            // Of no list: the host shows it.
            SessionEvent::DevicePaired { .. } => return,
            SessionEvent::TableChanged(event) => return self.tables.changed(now, seq, &event),
            SessionEvent::LogAppended(event) => {
                let event = LogEvent::Appended(*event);
                return self.logs.changed(now, seq, &event);
            }
            SessionEvent::LogGrown(event) => {
                let event = LogEvent::Grown(*event);
                return self.logs.changed(now, seq, &event);
            }
            SessionEvent::LogReplaced(event) => {
                let event = LogEvent::Replaced(*event);
                return self.logs.changed(now, seq, &event);
            }
            SessionEvent::TopicEvent(event) => {
                return self.topics.event(now, seq, Arc::from(event));
            }
        };
        self.timeline(now, &agent_id, timeline::Input::Event { seq, happened });
    }

    fn timeline(&mut self, now: MonotonicTime, agent_id: &AgentId, input: timeline::Input) {
        self.timelines
            .handle(now, agent_id, input, &self.optimistic);
    }

    /// Removes creations whose rows exist.
    fn settle_creations(&mut self) {
        for agent_id in self.optimistic.awaited_rows() {
            if self.directory.agent(&agent_id).is_some() {
                let shown = optimistic::Input::RowShown { agent_id };
                self.optimistic.handle(shown);
            }
        }
    }
}

/// A row may identify the result of a creation before its answer arrives.
fn note_row(optimistic: &mut Optimistic, agent: &AgentSummary) {
    if let Some(intent_id) = agent.intent_id
        && optimistic.is_creating()
    {
        let agent_id = agent.id.clone();
        optimistic.handle(optimistic::Input::Row {
            intent_id,
            agent_id,
        });
    }
}
