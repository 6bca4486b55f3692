//! One host: its driver task and the handle to it (HR). The driver is the only source of truth for the host's
//! connectivity (INV-6); one host's trouble never delays another's.

mod clients;
mod commands;
mod driver;
mod effects;
mod events;
mod follow;
mod intents;
mod loads;
mod optimistic;
mod probe;
mod publish;
mod queries;
mod screens;
mod session;
mod timelines;

use std::sync::Arc;

use bowline_protocol::{AgentId, IntentId, handshake::ClientInfo};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    error::{CallError, IntentError, OpenError},
    intent::Outcome,
    outbox::{Outbox, Record},
    profile::Profile,
    registry::HostRecord,
    screen::{ScreenError, ScreenPublisher, ScreenSubscription, ScreenTarget},
    settings::{HOST_QUEUE, REQUEST_TIMEOUT, RuntimeSettings},
    snapshot::{HostSnapshot, SnapshotHub},
    storage::{Storage, StorageError},
    timeline::{TimelineError, TimelineStream, TimelineView},
    transport::{Address, Connector},
};

/// What all hosts of a runtime share.
#[derive(Clone)]
pub(crate) struct HostContext {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) profile: Arc<Profile>,
    pub(crate) client: ClientInfo,
    pub(crate) settings: Arc<RuntimeSettings>,
    pub(crate) seed: u64,
    pub(crate) hub: Arc<SnapshotHub>,
}

/// What a host's driver can be told.
pub(crate) enum HostCommand {
    /// It was paired again, with these addresses, this name and this key.
    Paired(HostRecord),
    /// Take up the outbox again.
    Resume {
        reply: oneshot::Sender<Result<(), StorageError>>,
    },
    /// Fetch the directory again.
    Refresh,
    /// The user wants that path.
    Select(Option<Address>),
    Foreground,
    Background,
    NetworkChanged,
    /// Ask the daemon something that changes nothing.
    Query {
        method: &'static str,
        params: Box<RawValue>,
        reply: oneshot::Sender<Result<Box<RawValue>, CallError>>,
    },
    /// Open a screen.
    OpenScreen {
        target: ScreenTarget,
        publisher: ScreenPublisher,
    },
    /// Fetch older items of an agent's timeline.
    LoadOlder(AgentId),
    /// The user has seen that an intent failed.
    Dismiss(IntentId),
    /// Follow an agent's timeline.
    OpenTimeline {
        agent_id: AgentId,
        reply: oneshot::Sender<Result<watch::Receiver<Arc<TimelineView>>, TimelineError>>,
    },
}

/// Handle of one host.
#[derive(Clone)]
pub(crate) struct Host {
    commands: mpsc::Sender<HostCommand>,
    outbox: Arc<Outbox>,
    /// `Some(forget)` ends the driver.
    stop: Arc<watch::Sender<Option<bool>>>,
    stopped: watch::Receiver<bool>,
}

impl Host {
    /// Starts the driver of a known host.
    pub(crate) fn start(context: &HostContext, record: HostRecord) -> Result<Self, OpenError> {
        let name = format!("outbox-{}", record.server_id);
        let (outbox, kept) = Outbox::open(context.storage.as_ref(), &name)?;
        let outbox = Arc::new(outbox);
        let publisher = context
            .hub
            .register(HostSnapshot::of_record(&record, kept.len()));
        let (commands, commands_in) = mpsc::channel(HOST_QUEUE);
        let (stop, stop_in) = watch::channel(None);
        let (stopped_out, stopped) = watch::channel(false);
        let driver = driver::Driver::new(
            context.clone(),
            record,
            publisher,
            Arc::clone(&outbox),
            kept,
            commands_in,
            stop_in,
        );
        tokio::spawn(async move {
            driver.run().await;
            stopped_out.send_replace(true);
        });
        Ok(Self {
            commands,
            outbox,
            stop: Arc::new(stop),
            stopped,
        })
    }

    /// Tells the driver something. At the bound the command is dropped: all that are sent this way are repeated by
    /// their senders or replaced by later ones.
    pub(crate) fn command(&self, command: HostCommand) {
        if self.commands.try_send(command).is_err() {
            tracing::warn!("a host's command queue is full");
        }
    }

    /// Tells the driver that the host was paired again.
    pub(crate) async fn paired(&self, record: HostRecord) {
        // A driver that has ended has been forgotten since.
        let _ = self.commands.send(HostCommand::Paired(record)).await;
    }

    /// Keeps an intent and queues it.
    pub(crate) fn submit(&self, record: Record) -> Result<oneshot::Receiver<Outcome>, IntentError> {
        self.outbox.submit(record)
    }

    /// Waits for the answer to a question that changes nothing.
    pub(crate) async fn query(
        &self,
        method: &'static str,
        params: Box<RawValue>,
    ) -> Result<Box<RawValue>, CallError> {
        let (reply, answer) = oneshot::channel();
        let command = HostCommand::Query {
            method,
            params,
            reply,
        };
        let answered = async {
            self.commands
                .send(command)
                .await
                .map_err(|_| CallError::NotConnected)?;
            answer.await.map_err(|_| CallError::NotConnected)?
        };
        timeout(REQUEST_TIMEOUT, answered)
            .await
            .unwrap_or(Err(CallError::Timeout))
    }

    /// Follows the timeline of an agent.
    pub(crate) async fn timeline(
        &self,
        agent_id: AgentId,
    ) -> Result<TimelineStream, TimelineError> {
        let (reply, answer) = oneshot::channel();
        let command = HostCommand::OpenTimeline {
            agent_id: agent_id.clone(),
            reply,
        };
        self.commands
            .send(command)
            .await
            .map_err(|_| TimelineError::UnknownHost)?;
        let view = answer.await.map_err(|_| TimelineError::UnknownHost)??;
        Ok(TimelineStream::new(self.clone(), agent_id, view))
    }

    /// Opens a screen; its first snapshot comes with the driver's next turn.
    pub(crate) fn screen(&self, target: ScreenTarget) -> Result<ScreenSubscription, ScreenError> {
        let (subscription, publisher) = ScreenSubscription::new();
        let command = HostCommand::OpenScreen { target, publisher };
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ScreenError::Busy,
                mpsc::error::TrySendError::Closed(_) => ScreenError::Gone,
            })?;
        Ok(subscription)
    }

    /// Lets go of files and locks.
    pub(crate) fn pause(&self) {
        self.command(HostCommand::Background);
        self.outbox.pause();
    }

    /// Takes up files and locks again, and looks after the connection.
    pub(crate) async fn resume(&self) -> Result<(), StorageError> {
        let (reply, answer) = oneshot::channel();
        let command = HostCommand::Resume { reply };
        if self.commands.send(command).await.is_err() {
            // The host was forgotten meanwhile.
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }

    /// Ends the driver; with `forget` its intents are dropped as well.
    pub(crate) fn stop(&self, forget: bool) {
        self.outbox.close(forget);
        self.stop.send_replace(Some(forget));
    }

    /// True when the driver has ended.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }
}
