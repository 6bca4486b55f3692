//! Who may call what.

use bowline_protocol::{RpcReason, error::RpcError, methods::name};

use crate::service::{Access, Method, Origin};

/// Whether a request may be answered at all. `found` is the method, if there is one of that name.
///
/// # Errors
/// `forbidden`, with what the caller may do instead.
pub(crate) fn permitted(origin: Origin, found: Option<&Method>) -> Result<(), RpcError> {
    match (origin, found.map(Method::access)) {
        (Origin::Local, _)
        | (Origin::Session, None | Some(Access::Sessions | Access::Probes))
        | (Origin::Probe, Some(Access::Probes)) => Ok(()),
        (Origin::Session, Some(Access::Local)) => Err(RpcError::new(
            RpcReason::Forbidden,
            "this method is answered on the daemon's local socket only",
        )),
        // INV-8
        (Origin::Probe, None | Some(Access::Sessions | Access::Local)) => Err(RpcError::new(
            RpcReason::Forbidden,
            format!("a probe may call `{}` only", name::SYSTEM_PING),
        )),
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::methods::Empty;

    use super::*;
    use crate::service::{Methods, Router, Service};

    struct One;

    impl Service for One {
        fn methods(methods: &mut Methods<Self>) {
            let nothing = |_: &Self, _: Empty| Ok(Empty {});
            methods.now("one.probes", nothing).for_probes();
            methods.now("one.sessions", nothing);
            methods.now("one.local", nothing).local_only();
        }
    }

    #[test]
    fn each_caller_gets_what_is_for_it_and_else_forbidden() {
        let mut router = Router::new();
        router.add(One).unwrap();
        let allowed = |origin| {
            ["one.probes", "one.sessions", "one.local", "one.unknown"].map(|name| {
                let verdict = permitted(origin, router.find(name).map(AsRef::as_ref));
                if let Err(error) = &verdict {
                    assert_eq!(error.reason(), Some(RpcReason::Forbidden));
                }
                verdict.is_ok()
            })
        };
        assert_eq!(allowed(Origin::Local), [true, true, true, true]);
        assert_eq!(allowed(Origin::Session), [true, true, false, true]);
        assert_eq!(allowed(Origin::Probe), [true, false, false, false]);
    }
}
