//! The runtime against a daemon that does as it is told: an in-memory network, virtual time, and connections
//! that die, stall and come back at the worst moment.

mod client;
mod daemon;
mod intents;
mod lifecycle;
mod net;
mod pairing;
mod queries;
mod rig;
mod serving;
mod switching;
mod timelines;
