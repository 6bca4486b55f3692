//! The daemon on loopback, driven by clients that share none of its code but the protocol crate.
