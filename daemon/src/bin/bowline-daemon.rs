//! The `bowline-daemon` binary.

fn main() {}
