//! Access for programs on the daemon's machine: its local socket, through one connection
//! ([`Client`]) or several ([`Pool`]).
//!
//! Requires the feature `local`, off by default: an app on another device has no local daemon.
//! There is no session, no resuming and no encryption: the operating system identifies the process
//! at the other end (`docs/protocol.md` §8).
//!
//! ```no_run
//! use std::collections::BTreeMap;
//!
//! use bowline_runtime::{
//!     local::{Endpoint, Pool, PoolOptions},
//!     protocol::methods::{AgentsPage, ListAgents, name},
//! };
//!
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::new("/run/user/1000/bowline.sock")?;
//! let pool = Pool::new(endpoint, PoolOptions { max_connections: 4, ..PoolOptions::default() })?;
//!
//! // A connection that is not in use, or a new one; it goes back when dropped.
//! let client = pool.get().await?;
//! let page: AgentsPage = client.call(name::AGENTS_LIST, &ListAgents::default()).await?;
//! let mut by_provider = BTreeMap::<_, usize>::new();
//! for agent in page.agents {
//!     *by_provider.entry(agent.provider).or_default() += 1;
//! }
//! println!("{by_provider:?}");
//! # Ok(())
//! # }
//! ```

mod pool;

pub use bowline_local::{
    Batch, CallError, Client, ClientOptions, Closed, ConnectError, Endpoint, EndpointError,
    Notification, NotificationEvent, Notifications,
};
pub use pool::{Pool, PoolError, PoolOptions, PoolStatus, Pooled};
