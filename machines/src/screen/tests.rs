//! Tests of the screen function.
