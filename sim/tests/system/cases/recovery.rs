//! Refusals that are not proved, copies of one daemon, retries, tasks that die.
