//! One host: its driver task and its handle (HR-1). The driver is the only source of truth for the
//! host's connectivity (INV-6); faults of one host never delay another.

mod clients;
mod commands;
mod control;
mod driver;
mod effects;
mod events;
mod intents;
mod kept;
mod live;
mod loads;
mod probe;
mod publish;
mod queries;
mod screens;
mod streams;

use std::{borrow::Cow, sync::Arc};

use bowline_machines::data::target::LiveTarget;
use bowline_machines::data::{
    logs::LogView, screens::ScreenTarget, tables::TableView, timeline, view::TimelineView,
};
use bowline_protocol::{AgentId, IntentId, handshake::ClientInfo, live::LiveKind};
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

pub(crate) use control::HostControl;
use kept::Flush;
pub(crate) use kept::Flushed;

use crate::{
    cache::{Cache, HostCache},
    client::{Answer, Call, shared},
    control_slot::ControlSlot,
    error::{CallError, IntentError, TimelineError},
    live::{Read, ViewPublisher},
    outbox::{Outbox, Record},
    profile::Profile,
    receipt::Awaited,
    registry::HostRecord,
    screen::{ScreenError, ScreenPublisher, ScreenSubscription},
    settings::{HOST_QUEUE, MOVING_TRANSFERS, REQUEST_TIMEOUT, RuntimeSettings, TRANSFERS},
    snapshot::{HostSnapshot, SnapshotHub},
    storage::{Storage, StorageError},
    topic::TopicPublisher,
    transport::Connector,
};

/// State shared by all hosts of a runtime.
#[derive(Clone)]
pub(crate) struct HostContext {
    pub(crate) cache: Arc<Cache>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) profile: Arc<Profile>,
    pub(crate) client: ClientInfo,
    pub(crate) settings: Arc<RuntimeSettings>,
    pub(crate) seed: u64,
    pub(crate) hub: Arc<SnapshotHub>,
}

/// Commands of a host's driver that are queued; the others are [`HostControl`].
pub(crate) enum HostCommand {
    /// Send a read-only query to the daemon.
    Query(Call),
    /// Open a screen.
    OpenScreen {
        target: ScreenTarget,
        publisher: ScreenPublisher,
    },
    /// A request of a reader of an agent's timeline.
    Read(AgentId, timeline::Input),
    /// Follow a table.
    OpenTable(LiveTarget, ViewPublisher<TableView>),
    /// Follow a log.
    OpenLog(LiveTarget, ViewPublisher<LogView>),
    /// Follow a topic.
    OpenTopic(LiveTarget, TopicPublisher),
    /// A request of a subscriber of a table or log.
    ReadLive(LiveKind, LiveTarget, Read),
    /// Remove a failed intent that the user has seen.
    Dismiss(IntentId),
    /// Follow an agent's timeline.
    OpenTimeline {
        agent_id: AgentId,
        reply: oneshot::Sender<Result<watch::Receiver<Arc<TimelineView>>, TimelineError>>,
    },
}

/// Inputs of a driver.
struct Inputs {
    control: Arc<ControlSlot<HostControl>>,
    commands: mpsc::Receiver<HostCommand>,
    /// `Some(forget)` ends it.
    stop: watch::Receiver<Option<bool>>,
}

/// Places of blobs on their way to and from one host.
#[derive(Clone)]
pub(crate) struct Transfers {
    /// Those that are begun.
    pub(crate) all: Arc<Semaphore>,
    /// Those whose bytes move; the others wait.
    pub(crate) moving: Arc<Semaphore>,
}

impl Transfers {
    fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(TRANSFERS)),
            moving: Arc::new(Semaphore::new(MOVING_TRANSFERS)),
        }
    }
}

/// The files of a host: its outbox, the intents that are kept there, and its cache.
pub(crate) type Opened = (Outbox, Vec<Record>, HostCache);

/// Handle of one host.
#[derive(Clone)]
pub(crate) struct Host {
    control: Arc<ControlSlot<HostControl>>,
    commands: mpsc::Sender<HostCommand>,
    outbox: Arc<Outbox>,
    cache: Arc<HostCache>,
    transfers: Transfers,
    /// `Some(forget)` ends the driver.
    stop: Arc<watch::Sender<Option<bool>>>,
    stopped: watch::Receiver<bool>,
}

impl Host {
    /// Opens the files of a known host.
    ///
    /// # Errors
    /// [`StorageError`] if its outbox cannot be opened; a damaged outbox is no error.
    pub(crate) fn open(context: &HostContext, record: &HostRecord) -> Result<Opened, StorageError> {
        let name = format!("outbox-{}", record.server_id);
        let (outbox, kept) = Outbox::open(Arc::clone(&context.storage), &name)?;
        let key = context.profile.cache_key(&record.server_id);
        let cache = HostCache::open(
            Arc::clone(&context.cache),
            &record.server_id,
            (key, record.psk.as_ref()),
        );
        Ok((outbox, kept, cache))
    }

    /// Starts the driver of a known host, which the snapshots show from now on. Does no I/O.
    pub(crate) fn start(
        context: &HostContext,
        record: HostRecord,
        (outbox, kept, cache): Opened,
    ) -> Self {
        let outbox = Arc::new(outbox);
        let cache = Arc::new(cache);
        let publisher = context.hub.register(HostSnapshot::of_record(
            &record,
            kept.iter().filter(|one| one.outcome.is_none()).count(),
            outbox.trouble(),
        ));
        let (commands, commands_in) = mpsc::channel(HOST_QUEUE);
        let (stop, stop_in) = watch::channel(None);
        let control = Arc::new(ControlSlot::default());
        let (stopped_out, stopped) = watch::channel(false);
        let driver = driver::Driver::new(
            context.clone(),
            record,
            publisher,
            (Arc::clone(&outbox), Arc::clone(&cache)),
            kept,
            Inputs {
                control: Arc::clone(&control),
                commands: commands_in,
                stop: stop_in,
            },
        );
        let hub = Arc::clone(&context.hub);
        let left = Arc::clone(&outbox);
        tokio::spawn(async move {
            let driving = tokio::spawn(driver.run());
            if let Err(error) = driving.await
                && error.is_panic()
            {
                // A dead driver must not leave its host shown as online (X1).
                tracing::error!(%error, "a defect ended the driver of a host");
                hub.broken(publisher);
            }
            // Nobody is left who would tell.
            left.end_receipts();
            stopped_out.send_replace(true);
        });
        Self {
            control,
            commands,
            outbox,
            cache,
            transfers: Transfers::new(),
            stop: Arc::new(stop),
            stopped,
        }
    }

    /// Changes commands of which only the latest counts. Never fails.
    pub(crate) fn set(&self, change: impl FnOnce(&mut HostControl)) {
        self.control.update(change);
    }

    /// Queues a command for the driver.
    ///
    /// # Errors
    /// [`ScreenError::Busy`] if the queue is full; [`ScreenError::Gone`] if the driver has ended.
    pub(crate) fn command(&self, command: HostCommand) -> Result<(), ScreenError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ScreenError::Busy,
                mpsc::error::TrySendError::Closed(_) => ScreenError::Gone,
            })
    }

    /// Stores and queues an intent.
    pub(crate) fn submit(&self, record: Record) -> Result<Awaited, IntentError> {
        self.outbox.submit(record)
    }

    /// The outcome of an intent that the outbox still knows.
    pub(crate) fn awaited(&self, id: IntentId) -> Option<Awaited> {
        self.outbox.awaited(id)
    }

    /// Sends a read-only query and waits for its answer.
    pub(crate) async fn query(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: Box<RawValue>,
    ) -> Result<Box<RawValue>, CallError> {
        let (call, answer) = Call::new(method, shared(params));
        let answered = async {
            let queued = self.commands.send(HostCommand::Query(call)).await;
            queued.map_err(|_| CallError::NotConnected)?;
            let reply = answer.await.map_err(|_| CallError::NotConnected)??;
            Ok(reply.result)
        };
        timeout(REQUEST_TIMEOUT, answered)
            .await
            .unwrap_or(Err(CallError::Timeout))
    }

    /// Queues a query that may carry bytes. Those of one caller are sent in the order of their
    /// calls, and the caller bounds the wait for the answer.
    ///
    /// # Errors
    /// [`CallError::NotConnected`] if the queue is full or the driver has ended.
    pub(crate) fn queue_query(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: Box<RawValue>,
        bytes: Option<Bytes>,
    ) -> Result<Answer, CallError> {
        let (mut call, answer) = Call::new(method, shared(params));
        call.bytes = bytes;
        let queued = self.commands.try_send(HostCommand::Query(call));
        queued.map_err(|_| CallError::NotConnected)?;
        Ok(answer)
    }

    /// Follows the timeline of an agent.
    pub(crate) async fn timeline(
        &self,
        agent_id: AgentId,
    ) -> Result<watch::Receiver<Arc<TimelineView>>, TimelineError> {
        let (reply, answer) = oneshot::channel();
        let command = HostCommand::OpenTimeline { agent_id, reply };
        self.commands
            .send(command)
            .await
            .map_err(|_| TimelineError::UnknownHost)?;
        answer.await.map_err(|_| TimelineError::UnknownHost)?
    }

    /// Opens a screen; its first snapshot follows in the driver's next turn.
    pub(crate) fn screen(&self, target: ScreenTarget) -> Result<ScreenSubscription, ScreenError> {
        let (subscription, publisher) = ScreenSubscription::new(ScreenError::Gone);
        self.command(HostCommand::OpenScreen { target, publisher })?;
        Ok(subscription)
    }

    /// Writes the tables and logs that are open for the next run of the app (LD-5).
    pub(crate) fn flush(&self) -> Flushed {
        let (flush, flushed) = Flush::new();
        self.set(|control| control.flush = Some(flush));
        flushed
    }

    /// Releases files and locks. Waits for pending writes.
    pub(crate) fn pause(&self) {
        self.set(|control| control.platform.background());
        self.outbox.pause();
    }

    /// Opens files and locks again.
    ///
    /// # Errors
    /// [`StorageError`]; retried every few seconds.
    pub(crate) fn resume(&self) -> Result<(), StorageError> {
        self.outbox.resume()
    }

    /// Whether it ends, or has ended, because it was removed.
    pub(crate) fn is_forgotten(&self) -> bool {
        *self.stop.borrow() == Some(true)
    }

    /// Ends the driver; with `forget` also drops its intents, which writes to files.
    pub(crate) fn stop(&self, forget: bool) {
        self.outbox.close(forget);
        if forget {
            self.cache.forget();
        }
        self.stop.send_replace(Some(forget));
    }

    /// Places of its blobs.
    pub(crate) const fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    /// True when the driver has ended.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }
}
