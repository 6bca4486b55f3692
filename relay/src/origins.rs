//! Which registrations are meant for this relay (TR-9, `docs/protocol.md` §9 "Control socket").

use std::net::SocketAddr;

use bowline_protocol::relay::{Binding, RelayOrigin, TlsExporter};

/// How a control socket arrived, as the relay sees it.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The relay's own end.
    pub(crate) local: SocketAddr,
    /// Whether the relay ends TLS itself on this socket.
    pub(crate) secure: bool,
    /// Of the TLS connection, if it has one.
    pub(crate) exporter: Option<TlsExporter>,
    /// Whether a proxy is in between, so that `local` is no address that a daemon dials.
    pub(crate) is_proxied: bool,
}

/// The relay's own origins, as its settings name them.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Vec<RelayOrigin>);

impl Origins {
    pub(crate) const fn new(own: Vec<RelayOrigin>) -> Self {
        Self(own)
    }

    /// Whether a daemon that proved this binding dialled this relay, and not another one that
    /// passes a challenge on.
    pub(crate) fn are_meant(&self, binding: &Binding, arrival: &Arrival) -> bool {
        let Binding { origin, exporter } = binding;
        if exporter.is_some() && *exporter == arrival.exporter {
            return true;
        }
        if self.0.is_empty() {
            !arrival.is_proxied
                && origin.is_secure() == arrival.secure
                && origin.is_at(arrival.local)
        } else {
            self.0.contains(origin)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(origin: &str, exporter: Option<u8>) -> Binding {
        Binding {
            origin: origin.parse().unwrap(),
            exporter: exporter.map(|byte| TlsExporter::from_bytes([byte; 32])),
        }
    }

    fn arrival(local: &str, exporter: Option<u8>) -> Arrival {
        Arrival {
            local: local.parse().unwrap(),
            secure: exporter.is_some(),
            exporter: exporter.map(|byte| TlsExporter::from_bytes([byte; 32])),
            is_proxied: false,
        }
    }

    #[test]
    fn tr_9_without_settings_a_relay_is_the_address_that_was_dialled_and_nothing_else() {
        let origins = Origins::new(Vec::new());
        let here = arrival("192.0.2.1:4718", None);
        assert!(origins.are_meant(&binding("ws://192.0.2.1:4718", None), &here));
        for other in [
            "ws://192.0.2.1:4719",
            "ws://192.0.2.2:4718",
            "wss://192.0.2.1:4718",
            "ws://relay.example.org:4718",
            "ws://localhost:4718",
        ] {
            assert!(!origins.are_meant(&binding(other, None), &here), "{other}");
        }
        let proxied = Arrival {
            is_proxied: true,
            ..arrival("127.0.0.1:4718", None)
        };
        let dialled = binding("ws://127.0.0.1:4718", None);
        assert!(!origins.are_meant(&dialled, &proxied));
    }

    #[test]
    fn tr_9_a_relay_with_origins_is_at_these_only() {
        let origins = Origins::new(vec!["wss://relay.example.org".parse().unwrap()]);
        let here = arrival("127.0.0.1:4718", None);
        assert!(origins.are_meant(&binding("wss://relay.example.org", None), &here));
        for other in ["wss://evil.example", "ws://127.0.0.1:4718"] {
            assert!(!origins.are_meant(&binding(other, None), &here), "{other}");
        }
    }

    #[test]
    fn tr_9_the_tls_connection_itself_is_proof_by_whatever_name() {
        let origins = Origins::new(Vec::new());
        let here = arrival("192.0.2.1:443", Some(1));
        assert!(origins.are_meant(&binding("wss://relay.example.org", Some(1)), &here));
        for other in [Some(2), None] {
            let elsewhere = binding("wss://relay.example.org", other);
            assert!(!origins.are_meant(&elsewhere, &here), "{other:?}");
        }
        // Neither end has TLS, or a proxy has it.
        let plain = arrival("127.0.0.1:4718", None);
        assert!(!origins.are_meant(&binding("wss://relay.example.org", None), &plain));
        assert!(!origins.are_meant(&binding("wss://relay.example.org", Some(1)), &plain));
    }
}
