//! The story, one file for each act.

mod cuts;
mod killed;
pub(super) mod opening;
pub(super) mod paths;

/// Lines printed by [`COMMAND`], 40 per second.
const TICKS: u32 = 240;
/// How the command prints them.
const COMMAND: &str = "i=1; while [ $i -le 240 ]; do echo tick $i; i=$((i+1)); sleep 0.025; done";
