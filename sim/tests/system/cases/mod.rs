//! What users of such programs ran into elsewhere, tried on this one: each test names its case (`case_c14_…`) and shows
//! the right value with the real programs. One module a kind of fault; [`rig`] starts the programs.
#![cfg(unix)]

mod bounds;
mod diagnostics;
mod network;
mod people;
mod processes;
mod recovery;
mod rig;
mod state;
mod turns;
