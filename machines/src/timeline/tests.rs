//! Tests of the timeline machine.
