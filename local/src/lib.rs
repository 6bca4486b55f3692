//! The daemon's local socket (`docs/protocol.md` §8): where it is, what its bytes mean, and how to ask it.
//!
//! * [`Endpoint`] is the place: a Unix domain socket, a Windows named pipe, a typed error elsewhere
//! * [`Stream`] and [`Listener`] are the bytes, from either side
//! * [`LineBuffer`] cuts bytes into lines, one JSON-RPC text each
//! * [`Client`] asks: many requests at once over one connection, matched by id
//!
//! The daemon listens with it and asks with it; the runtime's `local::Pool` keeps several clients.
//!
//! ```no_run
//! use bowline_local::{Client, Endpoint};
//! use bowline_protocol::methods::{Empty, Pong, SystemInfo, name};
//!
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(&Endpoint::new("/run/user/1000/bowline.sock")?).await?;
//! // Clones share the connection; requests on it run side by side.
//! let (info, pong) = tokio::join!(
//!     client.call::<SystemInfo>(name::SYSTEM_INFO, &Empty {}),
//!     client.call::<Pong>(name::SYSTEM_PING, &Empty {}),
//! );
//! println!("{} at {}", info?.name, pong?.server_time);
//! # Ok(())
//! # }
//! ```

mod client;
mod endpoint;
mod error;
mod lines;
mod listener;
mod stream;

#[cfg(not(any(unix, windows)))]
#[path = "unsupported.rs"]
mod platform;
#[cfg(unix)]
#[path = "unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows.rs"]
mod platform;

pub use client::{Batch, Client, ClientOptions, Heard, Notification, Notifications};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{CallError, Closed, ConnectError};
pub use lines::{LineBuffer, LineTooLong, one_line};
pub use listener::{ListenError, Listener, Restored};
pub use stream::Stream;
