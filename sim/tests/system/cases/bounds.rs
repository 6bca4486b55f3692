//! Lists at their bounds, and limits that users meet.
