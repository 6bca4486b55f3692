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
mod orders;
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

pub(crate) use orders::Orders;

use crate::{
    desk::Desk,
    error::{CallError, IntentError},
    intent::Outcome,
    outbox::{Outbox, Record},
    profile::Profile,
    registry::HostRecord,
    screen::{ScreenError, ScreenPublisher, ScreenSubscription, ScreenTarget},
    settings::{HOST_QUEUE, REQUEST_TIMEOUT, RuntimeSettings},
    snapshot::{HostSnapshot, SnapshotHub},
    storage::{Storage, StorageError},
    timeline::{TimelineError, TimelineStream, TimelineView},
    transport::Connector,
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

/// What a host's driver can be told, each for itself; the rest are [`Orders`].
pub(crate) enum HostCommand {
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
    /// Fetch newer items of a timeline that is shown elsewhere than at its end.
    LoadNewer(AgentId),
    /// Show the newest items of an agent's timeline.
    JumpToNewest(AgentId),
    /// Try again to bring an agent's timeline up to date.
    Reload(AgentId),
    /// The user has seen that an intent failed.
    Dismiss(IntentId),
    /// Follow an agent's timeline.
    OpenTimeline {
        agent_id: AgentId,
        reply: oneshot::Sender<Result<watch::Receiver<Arc<TimelineView>>, TimelineError>>,
    },
}

/// Where a driver is told things.
struct Told {
    desk: Arc<Desk<Orders>>,
    commands: mpsc::Receiver<HostCommand>,
    /// `Some(forget)` ends it.
    stop: watch::Receiver<Option<bool>>,
}

/// Handle of one host.
#[derive(Clone)]
pub(crate) struct Host {
    desk: Arc<Desk<Orders>>,
    commands: mpsc::Sender<HostCommand>,
    outbox: Arc<Outbox>,
    /// `Some(forget)` ends the driver.
    stop: Arc<watch::Sender<Option<bool>>>,
    stopped: watch::Receiver<bool>,
}

impl Host {
    /// Starts the driver of a known host. Opens files.
    ///
    /// # Errors
    /// [`StorageError`] when its outbox cannot be opened; that it is damaged is no error.
    pub(crate) fn start(context: &HostContext, record: HostRecord) -> Result<Self, StorageError> {
        let name = format!("outbox-{}", record.server_id);
        let (outbox, kept) = Outbox::open(Arc::clone(&context.storage), &name)?;
        let outbox = Arc::new(outbox);
        let publisher = context.hub.register(HostSnapshot::of_record(
            &record,
            kept.iter().filter(|one| one.outcome.is_none()).count(),
            outbox.trouble(),
        ));
        let (commands, commands_in) = mpsc::channel(HOST_QUEUE);
        let (stop, stop_in) = watch::channel(None);
        let desk = Arc::new(Desk::default());
        let (stopped_out, stopped) = watch::channel(false);
        let driver = driver::Driver::new(
            context.clone(),
            record,
            publisher,
            Arc::clone(&outbox),
            kept,
            Told {
                desk: Arc::clone(&desk),
                commands: commands_in,
                stop: stop_in,
            },
        );
        let hub = Arc::clone(&context.hub);
        tokio::spawn(async move {
            let driving = tokio::spawn(driver.run());
            if let Err(error) = driving.await
                && error.is_panic()
            {
                // Never "online" with nobody there (X1).
                tracing::error!(%error, "a defect ended what keeps a host");
                hub.broken(publisher);
            }
            stopped_out.send_replace(true);
        });
        Ok(Self {
            desk,
            commands,
            outbox,
            stop: Arc::new(stop),
            stopped,
        })
    }

    /// Tells the driver something that it must not miss, and of which only the last counts.
    pub(crate) fn order(&self, order: impl FnOnce(&mut Orders)) {
        self.desk.give(order);
    }

    /// Tells the driver something.
    ///
    /// # Errors
    /// [`ScreenError::Busy`] at the bound; [`ScreenError::Gone`] when the driver has ended.
    pub(crate) fn command(&self, command: HostCommand) -> Result<(), ScreenError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ScreenError::Busy,
                mpsc::error::TrySendError::Closed(_) => ScreenError::Gone,
            })
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
        self.command(HostCommand::OpenScreen { target, publisher })?;
        Ok(subscription)
    }

    /// Lets go of files and locks. Waits for what is being written.
    pub(crate) fn pause(&self) {
        self.order(|orders| orders.background());
        self.outbox.pause();
    }

    /// Takes up files and locks again.
    ///
    /// # Errors
    /// [`StorageError`]; tried again every few seconds.
    pub(crate) fn resume(&self) -> Result<(), StorageError> {
        self.outbox.resume()
    }

    /// Ends the driver; with `forget` its intents are dropped as well, which writes to files.
    pub(crate) fn stop(&self, forget: bool) {
        self.outbox.close(forget);
        self.stop.send_replace(Some(forget));
    }

    /// True when the driver has ended.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }
}
