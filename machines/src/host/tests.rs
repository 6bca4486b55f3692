//! Table tests of the host.
