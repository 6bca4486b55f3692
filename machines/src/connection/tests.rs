//! Tests of the connection machine.
