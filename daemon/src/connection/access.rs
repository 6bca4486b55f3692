//! Permissions of methods: by where a request comes from, and by the role of its device (TR-4).

use bowline_protocol::{Role, RpcReason, error::RpcError, methods::name};

use crate::{
    rpc::not_granted,
    service::{Access, Context, Method, Origin},
};

/// Checks whether the caller may make a request. `found` is the method, if it exists. Whether a
/// local one is the owner is checked when the method starts (TR-7).
///
/// # Errors
/// `forbidden`, with the calls that are permitted; `not_granted` with the role that is missing.
pub(crate) fn permitted(context: &Context, found: Option<&Method>) -> Result<(), RpcError> {
    let session = context.session.as_ref();
    let role = session.map_or(Role::Viewer, |session| session.grant().role);
    by_origin(context.origin, found).and_then(|()| match found {
        Some(method) if context.origin == Origin::Session && role < method.least_role() => {
            Err(not_granted(method.name(), method.least_role(), role))
        }
        Some(_) | None => Ok(()),
    })
}

fn by_origin(origin: Origin, found: Option<&Method>) -> Result<(), RpcError> {
    match (origin, found.map(Method::access)) {
        (Origin::Local, _)
        | (Origin::Session, None | Some(Access::Sessions | Access::Probes))
        | (Origin::Probe, Some(Access::Probes)) => Ok(()),
        (Origin::Session, Some(Access::Local | Access::Owner)) => Err(RpcError::new(
            RpcReason::Forbidden,
            "this method is answered on the daemon's local socket only",
        )),
        // INV-8
        (Origin::Probe, None | Some(Access::Sessions | Access::Local | Access::Owner)) => {
            Err(RpcError::new(
                RpcReason::Forbidden,
                format!(
                    "a probe or a pairing connection may call `{}` only",
                    name::SYSTEM_PING
                ),
            ))
        }
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
            methods.now("one.owner", nothing).owner_only();
        }
    }

    #[test]
    fn each_caller_gets_what_is_for_it_and_else_forbidden() {
        let mut router = Router::new();
        router.add(One).unwrap();
        let allowed = |origin| {
            [
                "one.probes",
                "one.sessions",
                "one.local",
                "one.owner",
                "one.unknown",
            ]
            .map(|name| {
                let verdict = by_origin(origin, router.find(name).map(AsRef::as_ref));
                if let Err(error) = &verdict {
                    assert_eq!(error.reason(), Some(RpcReason::Forbidden));
                }
                verdict.is_ok()
            })
        };
        assert_eq!(allowed(Origin::Local), [true; 5]);
        assert_eq!(allowed(Origin::Session), [true, true, false, false, true]);
        assert_eq!(allowed(Origin::Probe), [true, false, false, false, false]);
    }
}
