//! The boundary as an app sees it, without another language: newest values, failures, ends,
//! threads, errors.
#![allow(clippy::unwrap_used)]

mod cached;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod key_store;
mod lifecycle;
mod listeners;
mod threads;
