//! All limits of the runtime, with the behaviour at each limit.

use std::time::Duration;

use bowline_machines::Path;

/// Requests queued for one client's driver; above it callers wait.
pub(crate) const REQUEST_QUEUE: usize = 256;
/// Commands queued for one host's driver; above it callers wait, or get a busy error.
pub(crate) const HOST_QUEUE: usize = 1_024;
/// Messages that a driver reads from its socket before it handles other inputs.
pub(crate) const MESSAGES_PER_TURN: usize = 256;
/// Events that a client buffers for its host; at the limit it stops reading its socket.
pub(crate) const EVENTS_PER_TURN: usize = 512;
/// Timeout of a request; it then ends with [`crate::CallError::Timeout`].
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a clean close of a socket before it is dropped.
pub(crate) const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Intents stored for one host; above it [`crate::IntentError::OutboxFull`].
pub(crate) const OUTBOX_INTENTS: usize = 8_192;
/// Bytes of intents stored for one host, as in the journal; above it
/// [`crate::IntentError::OutboxFull`].
pub(crate) const OUTBOX_BYTES: usize = 16 << 20;
/// Size of the largest intent, as in the journal: every daemon accepts it. A larger one is
/// [`crate::IntentError::Invalid`].
pub(crate) const INTENT_BYTES: usize = bowline_protocol::limits::MAX_MESSAGE_BYTES as usize;
/// Obsolete bytes allowed in the journal, in addition to as many as are current; above it the
/// journal is rewritten.
pub(crate) const JOURNAL_SLACK: usize = 256 << 10;
/// Interval of checks whether another process on the same folder has paired or forgotten a host.
pub(crate) const REGISTRY_LOOK: Duration = Duration::from_secs(2);
/// Commands that a host's driver takes before it handles other inputs.
pub(crate) const COMMANDS_PER_TURN: usize = 64;
/// Delay before a follower retries a failed load.
pub(crate) const FOLLOWER_RETRY: Duration = Duration::from_millis(300);
/// Partially delivered items that a follower tracks; older ones stay as delivered.
pub(crate) const GROWING_ITEMS: usize = 4_096;
/// Agents per page of the directory.
pub(crate) const DIRECTORY_PAGE: u32 = 500;
/// Items per page of a timeline.
pub(crate) const HISTORY_PAGE: u32 = 200;
/// Blobs that are put to and got from one host, at most; above it
/// [`crate::TransferError::Busy`].
pub(crate) const TRANSFERS: usize = 64;
/// Those of them whose bytes move at once; the others wait.
pub(crate) const MOVING_TRANSFERS: usize = 2;
/// Largest blob that is got into memory; above it [`crate::TransferError::TooLarge`].
pub(crate) const BLOB_IN_MEMORY: u64 = 64 << 20;
/// Bytes of a file that are read and hashed at once.
pub(crate) const FILE_BLOCK: usize = 1 << 20;
/// Size of the largest accepted WebSocket frame: one Noise message.
pub(crate) const MAX_FRAME: usize = bowline_protocol::limits::MAX_NOISE_MESSAGE;
/// Read buffer of a socket in bytes: small, because phones have few sockets and short messages.
pub(crate) const READ_BUFFER: usize = 16 * 1024;
/// Write buffer of a socket in bytes.
pub(crate) const WRITE_BUFFER: usize = 16 * 1024;
/// Bytes that are kept on disk of tables and logs, of all hosts; above it the lists that were not
/// viewed for longest are dropped.
pub(crate) const CACHE_BYTES: u64 = 32 << 20;
/// Longest time that a host's driver waits for the file of a table or log that is opened, while it
/// handles nothing else; after it the list begins empty.
pub(crate) const CACHE_READ: Duration = Duration::from_millis(250);
/// Longest time that a pause waits for the tables and logs of all hosts to be written.
pub(crate) const CACHE_FLUSH: Duration = Duration::from_millis(500);
/// Unwritten bytes of a socket; at the limit requests wait.
pub(crate) const MAX_WRITE_BUFFER: usize = 4 << 20;

/// Settings of a runtime.
#[derive(Clone)]
pub struct RuntimeSettings {
    /// Program name, sent to daemons.
    pub app_name: String,
    /// Program version, sent to daemons.
    pub app_version: String,
    /// Device name for the daemon's device list, sent with the program's name.
    pub device_name: Option<String>,
    /// Allowed kinds of path; `None` allows all.
    pub only: Option<Path>,
    /// Seed of the retry jitter; `None` draws one. A fixed seed makes a run reproducible.
    pub seed: Option<u64>,
    /// Timing of the host machine.
    pub host: bowline_machines::client::paths::HostConfig,
    /// Timing of the client machine.
    pub client: bowline_machines::client::connection::ClientConfig,
    /// PEM certificates trusted for `wss` besides the public ones.
    pub extra_roots: Vec<Vec<u8>>,
    /// The proxy to use, `http://…`, `https://…` or `socks5://…`; `None` uses the environment
    /// variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. An empty text disables
    /// proxies.
    pub proxy: Option<String>,
    /// Most bytes on disk, of all hosts, for the rows of tables and items of logs that were open: a
    /// cold start shows them before there is a network (LD-5). They are in the storage folder,
    /// encrypted, and deleted with their host. 32 MiB unless set; 0 keeps nothing and deletes what
    /// was kept.
    pub cache_bytes: u64,
}

/// Without the proxy's URL, which may contain a password.
impl std::fmt::Debug for RuntimeSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeSettings")
            .field("app_name", &self.app_name)
            .field("only", &self.only)
            .field("has_proxy", &self.proxy.is_some())
            .finish_non_exhaustive()
    }
}

impl RuntimeSettings {
    /// The default settings for an app.
    pub fn new(app_name: impl Into<String>, app_version: impl Into<String>) -> Self {
        Self {
            app_name: app_name.into(),
            app_version: app_version.into(),
            device_name: None,
            only: None,
            seed: None,
            host: bowline_machines::client::paths::HostConfig::new(0),
            client: bowline_machines::client::connection::ClientConfig::new(Path::Direct, 0),
            extra_roots: Vec::new(),
            proxy: None,
            cache_bytes: CACHE_BYTES,
        }
    }

    /// The name in daemons' device lists: `bowline on ann-laptop`, or the program's name alone.
    pub(crate) fn listed_name(&self) -> String {
        match self.device_name.as_deref().map(str::trim) {
            None | Some("") => self.app_name.clone(),
            Some(device) => format!("{} on {device}", self.app_name),
        }
    }
}
