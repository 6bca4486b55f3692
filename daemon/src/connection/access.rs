//! Who may call what.

use bowline_protocol::{RpcReason, error::RpcError, methods::name};

use crate::service::Origin;

/// Methods of the local socket only.
pub(crate) const LOCAL_METHODS: &[&str] = &[
    name::DAEMON_STATUS,
    name::CONNECTIONS_LIST,
    name::SESSIONS_LIST,
    name::DEVICES_LIST,
    name::DEVICES_REVOKE,
    name::PAIRING_CREATE,
];

/// Whether a request may be answered at all.
///
/// # Errors
/// `forbidden`, with what the caller may do instead.
pub(crate) fn permitted(origin: Origin, method: &str) -> Result<(), RpcError> {
    let forbidden = |text: String| Err(RpcError::new(RpcReason::Forbidden, text));
    match origin {
        Origin::Local => Ok(()),
        Origin::Session if LOCAL_METHODS.contains(&method) => forbidden(format!(
            "`{method}` is answered on the daemon's local socket only"
        )),
        Origin::Session => Ok(()),
        Origin::Probe if method == name::SYSTEM_PING => Ok(()),
        // INV-8
        Origin::Probe => forbidden(format!("a probe may call `{}` only", name::SYSTEM_PING)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_8_a_probe_may_ping_and_nothing_else() {
        for method in name::ALL.iter().chain(&["app.method"]) {
            let allowed = permitted(Origin::Probe, method).is_ok();
            assert_eq!(allowed, *method == name::SYSTEM_PING, "{method}");
        }
    }

    #[test]
    fn a_remote_client_gets_no_local_method() {
        for method in LOCAL_METHODS {
            assert!(permitted(Origin::Local, method).is_ok());
            let error = permitted(Origin::Session, method).unwrap_err();
            assert_eq!(error.reason(), Some(RpcReason::Forbidden));
        }
        assert!(permitted(Origin::Session, name::AGENTS_LIST).is_ok());
    }
}
