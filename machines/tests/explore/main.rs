//! Exhaustive exploration of the machines (BX-7): one module per machine, one explorer for all.

mod client;
mod connection;
mod directory;
mod explorer;
mod host;
mod relay;
mod session;
mod timeline;
