//! Known failure cases of similar programs, tested with the real programs: each test names its case
//! (`case_c14_…`). One module per kind of fault; [`rig`] starts the programs.
#![cfg(unix)]

mod blobs;
mod bounds;
mod clocks;
mod diagnostics;
mod disk;
mod lifetimes;
mod network;
mod people;
mod processes;
mod proxies;
mod recovery;
pub(crate) mod rig;
mod state;
mod turns;
