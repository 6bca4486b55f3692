//! The decisions about the data that a client displays: lists that follow a daemon's data, pending
//! messages and agents, and the screens over both.

pub mod cache;
pub mod collection;
pub mod directory;
pub mod follows;
pub mod lists;
pub mod load;
pub mod logs;
pub mod open;
pub mod optimistic;
pub mod patches;
pub mod replica;
pub mod screen;
pub mod screens;
pub mod tables;
pub mod target;
pub mod timeline;
pub mod timelines;
pub mod topics;
pub mod view;
