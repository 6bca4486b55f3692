//! Table tests of the client.
