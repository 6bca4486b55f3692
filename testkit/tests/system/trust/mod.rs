//! Attacks on the trust between devices, daemons, relays and the machine's other users, played
//! against the real programs. One module per requirement (`TR-n`), which each test names.
#![cfg(unix)]

mod agents;
mod flood;
mod grants;
mod links;
mod owner;
mod pairing;
mod private_state;
mod quotas;
mod registration;
mod relay;
mod squatter;
mod strangers;
mod unlinkable;
mod web_pages;
