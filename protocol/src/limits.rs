//! Every limit of the protocol, with what happens beyond it.

use std::time::Duration;

/// Largest Noise message in bytes, by its specification. A longer binary frame is `crypto_failed`.
pub const MAX_NOISE_MESSAGE: usize = 65_535;
/// Bytes the AEAD adds to a message.
pub const NOISE_TAG: usize = 16;
/// Largest chunk of a message in bytes: a Noise message less tag and flag byte. Longer messages are
/// chunked.
pub const MAX_CHUNK: usize = MAX_NOISE_MESSAGE - NOISE_TAG - 1;
/// Default of `limits.maxMessageBytes`. Larger requests close the connection with
/// `message_too_large`; larger results are answered with `response_too_large`.
pub const MAX_MESSAGE_BYTES: u32 = 1 << 20;
/// Default of `limits.maxInFlight`: pending requests of a connection; one more is answered with
/// `overloaded`.
pub const MAX_IN_FLIGHT: u32 = 256;
/// Most requests in one JSON-RPC batch; a larger batch is answered with −32600.
pub const MAX_BATCH: usize = 1_024;
/// Largest hello or welcome in bytes; a larger one is `bad_request`.
pub const MAX_HELLO_BYTES: usize = 8 * 1024;
/// Silence after which a client checks liveness.
pub const HEARTBEAT: Duration = Duration::from_secs(4);
/// The daemon's deadline from an accepted socket to `session.ready`; then `handshake_timeout`.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// The client's deadline for a whole connect; then `connect_timeout`.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// A client acknowledges after at most this many events …
pub const ACK_EVENTS: u64 = 64;
/// … or this much time, whichever comes first.
pub const ACK_INTERVAL: Duration = Duration::from_secs(1);
/// Default of `session_grace`: a session detached for longer expires.
pub const SESSION_GRACE: Duration = Duration::from_secs(24 * 3600);
/// Default of `replay_bytes`: beyond it the oldest events leave the replay log.
pub const REPLAY_BYTES: usize = 4 << 20;
/// Default of `replay_events`: beyond it the oldest events leave the replay log.
pub const REPLAY_EVENTS: usize = 4_096;
/// Connections of one session; one more closes the one idle longest with `session_capacity`.
pub const CONNECTIONS_PER_SESSION: usize = 8;
/// Time for which the outcome of an intent is remembered (BX-1).
pub const INTENT_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Default lifetime of a pairing token.
pub const PAIRING_TTL: Duration = Duration::from_secs(600);
/// Longest key of a row in bytes; the daemon stores no longer one.
pub const MAX_KEY: usize = 512;
/// Default of `follows_per_session`: one more is answered with `quota_exceeded`.
pub const FOLLOWS_PER_SESSION: usize = 256;
/// Largest `params` of `live.open` and `live.page` in bytes; larger ones are answered with −32602.
pub const LIVE_PARAMS_BYTES: usize = 4_096;
/// Largest value of a row that is sent in bytes; of a larger one only the size is.
pub const LIVE_ROW_BYTES: usize = 256 * 1024;
/// Largest item of a log in bytes; the daemon stores no larger one.
pub const LOG_ITEM_BYTES: usize = LIVE_ROW_BYTES;
/// Newest items of a log whose text may grow; all older ones stay as they are.
pub const LOG_GROWING: u64 = 64;
/// Largest event of a table's or log's change in bytes; a larger change is `stale`.
pub const LIVE_EVENT_BYTES: usize = 64 * 1024;
/// Most bytes of a blob that one request or response carries. A daemon with a smaller
/// `limits.maxMessageBytes` sends fewer.
pub const BLOB_PIECE_BYTES: usize = 256 * 1024;
/// Bytes of a message that carries a piece of a blob, besides the piece.
pub const BLOB_PIECE_FRAMING: usize = 8 * 1024;
/// Default of `max_blob_bytes`: a larger blob is answered with `quota_exceeded`.
pub const MAX_BLOB_BYTES: u64 = 1 << 30;
/// Blobs that one device puts at once; the one without progress for longest is dropped for another.
pub const BLOBS_BEGUN: usize = 16;
/// Time without progress after which a blob that is not complete is dropped.
pub const BLOB_BEGUN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Default of `blob_grace`: a blob that nothing refers to is removed after this.
pub const BLOB_GRACE: Duration = Duration::from_secs(24 * 3600);
/// Time after an attach in which a client opens again what it follows; the rest ends.
pub const FOLLOW_AGAIN: Duration = Duration::from_secs(30);
