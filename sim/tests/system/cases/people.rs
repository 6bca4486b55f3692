//! What a person reads and types at a terminal.
