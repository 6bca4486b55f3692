//! What a turn's process gets, prints and leaves behind.
