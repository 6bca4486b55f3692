//! The daemon's local socket (`docs/protocol.md` §8): its address, its framing and its client.
//!
//! * [`Endpoint`] is the address: a Unix domain socket or a Windows named pipe; other platforms get
//!   a typed error
//! * [`Stream`] and [`Listener`] are the connection and the accepting side
//! * [`LineBuffer`] splits bytes into lines, one JSON-RPC text each
//! * [`Client`] makes calls: many at once over one connection, matched by id
//! * [`make_private_folder`] and [`check_private_file`] keep the state of daemon and client out of
//!   places where other users may change it
//!
//! The daemon listens with this crate and its commands call with it; the runtime's `local::Pool`
//! keeps several clients.
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
mod private;
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

pub use client::{Batch, Client, ClientOptions, Notification, NotificationEvent, Notifications};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{CallError, Closed, ConnectError};
pub use lines::{LineBuffer, LineTooLong, one_line};
pub use listener::{ListenError, Listener, Restored};
pub use private::{PrivacyError, check_private_file, make_private_folder};
pub use stream::{Stream, is_peer_gone};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
