//! Every bound of the runtime in one table, with what happens at it (architecture rule 5).

use std::time::Duration;

use bowline_machines::Path;

use crate::{error::Failure, transport::WebSocketConnector};

/// Requests waiting for one client's driver; over it callers wait.
pub(crate) const REQUEST_QUEUE: usize = 256;
/// Commands waiting for one host's driver; over it callers wait, or are told that it is busy.
pub(crate) const HOST_QUEUE: usize = 1_024;
/// Messages that a driver takes from its socket before it looks at anything else.
pub(crate) const MESSAGES_PER_TURN: usize = 256;
/// Events a client holds for its host; at the bound it stops reading its socket.
pub(crate) const EVENTS_PER_TURN: usize = 512;
/// A request without an answer ends with [`crate::CallError::Timeout`].
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Closing a socket politely; then it is dropped.
pub(crate) const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Intents kept for one host; over it [`crate::IntentError::OutboxFull`].
pub(crate) const OUTBOX_INTENTS: usize = 8_192;
/// Bytes of intents kept for one host, as in the journal; over it [`crate::IntentError::OutboxFull`].
pub(crate) const OUTBOX_BYTES: usize = 16 << 20;
/// Largest intent, as in the journal: what every daemon takes. A larger one is [`crate::IntentError::Invalid`].
pub(crate) const INTENT_BYTES: usize = bowline_protocol::limits::MAX_MESSAGE_BYTES as usize;
/// Bytes of the journal that may say nothing any more, besides as many as say something; then it is rewritten.
pub(crate) const JOURNAL_SLACK: usize = 256 << 10;
/// Intents offered to the daemon at once; the rest wait their turn.
pub(crate) const INTENT_WINDOW: usize = 64;
/// How often it is looked whether another process on the same folder has paired or forgotten a host.
pub(crate) const REGISTRY_LOOK: Duration = Duration::from_secs(2);
/// A cancel that could not be sent for so long is over ([`crate::Outcome::Expired`]): the turn that it meant is not the one
/// that it would end.
pub(crate) const CANCEL_MEMORY: Duration = Duration::from_secs(60);
/// How long the daemon surely keeps an outcome (24 hours, `docs/protocol.md` §4), and an hour less.
pub(crate) const OUTCOME_MEMORY: Duration = Duration::from_secs(23 * 3_600);
/// Messages and creations that were not done and are kept on disk until the user has seen that; the oldest is forgotten.
pub(crate) const KEPT_FAILURES: usize = bowline_machines::optimistic::MAX_FAILED;
/// Outcomes shown in a host's snapshot; older ones leave it.
pub(crate) const RECENT_OUTCOMES: usize = 64;
/// Pause before an intent the daemon could not take (`overloaded`) is offered again.
pub(crate) const INTENT_RETRY: Duration = Duration::from_millis(500);
/// Queries that wait for a host to be online; over it they are answered with `NotConnected`.
pub(crate) const WAITING_QUERIES: usize = 256;
/// How long a query waits for a host that is being tried: as long as a whole connect may take. Then it is
/// answered with `NotConnected`, and at once where nothing is tried.
pub(crate) const QUERY_WAIT: Duration = bowline_protocol::limits::CONNECT_DEADLINE;
/// Commands that a host's driver takes before it looks at anything else.
pub(crate) const COMMANDS_PER_TURN: usize = 64;
/// Reports of a network change that come within so long of the last one that counted count as one.
pub(crate) const NETWORK_PAUSE: Duration = Duration::from_millis(250);
/// How often a host looks for intents that processes left behind which have ended since.
pub(crate) const ADOPTION: Duration = Duration::from_secs(60);
/// Pause before a follower asks again for what it could not be given.
pub(crate) const FOLLOWER_RETRY: Duration = Duration::from_millis(300);
/// Items of a timeline that a follower may have in part; the oldest of more stay as they are.
pub(crate) const GROWING_ITEMS: usize = 4_096;
/// Timelines open at once on one host; over it the call is refused.
pub(crate) const OPEN_TIMELINES: usize = 64;
/// Items that a view of a timeline holds; over it rows leave at the end where its reader is not, and come back when asked for.
pub(crate) const VIEW_ITEMS: usize = 10_000;
/// Bytes of text that a view of a timeline holds; at the bound as with [`VIEW_ITEMS`].
pub(crate) const VIEW_BYTES: usize = 16 << 20;
/// Items over [`VIEW_ITEMS`] before rows are dropped, so that they are dropped many at a time.
pub(crate) const VIEW_SLACK: usize = 256;
/// Timelines that are kept for a screen that is opened again (UX-2); the one closed longest ago is forgotten.
pub(crate) const KEPT_TIMELINES: usize = 128;
/// Newest items kept of each.
pub(crate) const KEPT_ITEMS: usize = 100;
/// Bytes of text kept of each, the newest item apart.
pub(crate) const KEPT_BYTES: usize = 256 << 10;
/// Bytes kept of all of them together, roughly; the one closed longest ago is forgotten.
pub(crate) const KEPT_BYTES_TOTAL: usize = 16 << 20;
/// One that is larger is not kept at all.
pub(crate) const KEPT_BYTES_LARGEST: usize = 4 << 20;
/// What an item costs besides its text, in bytes, roughly.
pub(crate) const ITEM_BYTES: usize = 256;
/// Agents remembered as loaded in this run after their timelines were forgotten, so that opening them again covers nothing (UX-2);
/// the one forgotten longest ago is opened as for the first time.
pub(crate) const KEPT_LOADED: usize = 4_096;
/// Messages that the daemon took, kept for an agent that nobody looks at until it is opened again; the oldest is dropped.
pub(crate) const KEPT_DELIVERED: usize = 32;
/// Bytes of text that all open timelines of a host share, the newest item of each apart: with more of them open each holds
/// less, and fetches more.
pub(crate) const OPEN_BYTES_TOTAL: usize = 96 << 20;
/// How long a message that the daemon took is shown while online and up to date without its item coming; then the item is in a
/// part that is not shown, and the message leaves.
pub(crate) const SETTLE_GRACE: Duration = Duration::from_secs(10);
/// Screens open at once on one host; over it the subscription ends with [`crate::ScreenError::TooMany`].
pub(crate) const OPEN_SCREENS: usize = 256;
/// How long after its creation from here an agent may be opened as one that was seen from the start (UX-3): time for an app to
/// put the screen up. Opened later it is an agent like any other (UX-1).
pub(crate) const FRESH_CREATION: Duration = Duration::from_secs(10);
/// Agents asked for in one page of the directory.
pub(crate) const DIRECTORY_PAGE: u32 = 500;
/// Items asked for in one page of a timeline.
pub(crate) const HISTORY_PAGE: u32 = 200;
/// Largest WebSocket frame that is read: one Noise message.
pub(crate) const MAX_FRAME: usize = bowline_protocol::limits::MAX_NOISE_MESSAGE;
/// Read buffer of a socket, in bytes: small, because phones hold few sockets and short messages.
pub(crate) const READ_BUFFER: usize = 16 * 1024;
/// Write buffer of a socket, in bytes, before it is handed to the system.
pub(crate) const WRITE_BUFFER: usize = 16 * 1024;
/// Unwritten bytes of a socket; at the bound requests wait.
pub(crate) const MAX_WRITE_BUFFER: usize = 4 << 20;

/// How a runtime behaves.
#[derive(Clone, Debug)]
pub struct RuntimeSettings {
    /// Program name, told to daemons.
    pub app_name: String,
    /// Program version, told to daemons.
    pub app_version: String,
    /// What the device is called, for its owner's list of devices; told to daemons with the program's name.
    pub device_name: Option<String>,
    /// Kinds of path that may be used; `None` allows all.
    pub only: Option<Path>,
    /// Seed of the jitter in retries; `None` draws one. A fixed seed makes a run reproducible.
    pub seed: Option<u64>,
    /// Times of the host machine.
    pub host: bowline_machines::host::HostConfig,
    /// Times of the client machine.
    pub client: bowline_machines::client::ClientConfig,
    /// PEM certificates trusted for `wss` besides the public ones.
    pub extra_roots: Vec<Vec<u8>>,
    /// The one proxy to go through, `http://…`, `https://…` or `socks5://…`; `None` leaves that to the variables `HTTPS_PROXY`,
    /// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the process. An empty text is no proxy.
    pub proxy: Option<String>,
}

impl RuntimeSettings {
    /// The settings of the design, for an app of that name and version.
    pub fn new(app_name: impl Into<String>, app_version: impl Into<String>) -> Self {
        Self {
            app_name: app_name.into(),
            app_version: app_version.into(),
            device_name: None,
            only: None,
            seed: None,
            host: bowline_machines::host::HostConfig::new(0),
            client: bowline_machines::client::ClientConfig::new(Path::Direct, 0),
            extra_roots: Vec::new(),
            proxy: None,
        }
    }

    /// A connector with this trust and this proxy.
    ///
    /// # Errors
    /// When an extra root does not read.
    pub fn connector(&self) -> Result<WebSocketConnector, Failure> {
        match &self.proxy {
            None => WebSocketConnector::new(&self.extra_roots),
            Some(proxy) => WebSocketConnector::through(&self.extra_roots, proxy),
        }
    }

    /// What daemons list the device as: `bowline on ann-laptop`, or the program's name alone.
    pub(crate) fn listed_name(&self) -> String {
        match self.device_name.as_deref().map(str::trim) {
            None | Some("") => self.app_name.clone(),
            Some(device) => format!("{} on {device}", self.app_name),
        }
    }
}
