//! `NO_PROXY` in its common forms: besides names, addresses and networks also `*.example.org`,
//! `[::1]` and `host:port`.

use hyper_util::client::proxy::matcher::Matcher;

use crate::destination::Destination;

/// Hosts reached without a proxy.
pub(super) struct Exceptions {
    /// Exceptions for every port, in the form the matcher parses.
    anywhere: String,
    /// Exceptions for one port.
    at: Vec<(u16, Matcher)>,
}

impl Exceptions {
    pub(super) fn parse(text: &str) -> Self {
        let mut anywhere = Vec::new();
        let mut at = Vec::new();
        let items = text.split([',', ' ', '\t']).filter(|item| !item.is_empty());
        for item in items {
            let (host, port) = split(item);
            let host = match host.strip_prefix("*.") {
                Some(domain) => domain,
                None => host,
            };
            match port {
                None => anywhere.push(host),
                // The proxy address is a placeholder: only a match counts.
                Some(port) => at.push((
                    port,
                    Matcher::builder()
                        .all("http://proxy")
                        .no(host.to_owned())
                        .build(),
                )),
            }
        }
        Self {
            anywhere: anywhere.join(","),
            at,
        }
    }

    /// The exceptions for every port.
    pub(super) fn anywhere(&self) -> &str {
        &self.anywhere
    }

    /// Whether an exception for one port covers the destination.
    pub(super) fn cover(&self, destination: &Destination) -> bool {
        self.at.iter().any(|(port, matcher)| {
            *port == destination.port && super::intercept(matcher, &destination.place()).is_none()
        })
    }
}

/// Host and port of an item; an IPv6 address without brackets has no port.
fn split(item: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = item.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (
            host,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match item.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (item, None),
        },
        _ => (item, None),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Proxies, *};

    #[test]
    fn case_c34_exceptions_are_read_as_people_write_them() {
        let direct = |no: &'static str, url: &str| {
            let proxies = Proxies::from_variables(|name| match name {
                "ALL_PROXY" => Some("http://p:1".to_owned()),
                "NO_PROXY" => Some(no.to_owned()),
                _ => None,
            });
            let destination = Destination::relay(&url.parse().unwrap(), "/");
            proxies.find(&destination).unwrap().is_none()
        };
        for (no, url) in [
            ("*.example.org", "wss://relay.example.org"),
            ("x, *.example.org", "wss://relay.example.org"),
            (".example.org relay.test", "ws://relay.test:1"),
            ("[::1]", "ws://[::1]:1"),
            ("::1", "ws://[::1]:1"),
            ("[::1]:9", "ws://[::1]:9"),
            ("relay.test:9", "ws://relay.test:9"),
            ("Relay.Test:443", "wss://relay.test"),
            ("*.test:9", "ws://relay.test:9"),
            ("10.0.0.0/8:9", "ws://10.1.2.3:9"),
            ("*", "ws://relay.test"),
        ] {
            assert!(direct(no, url), "{no} {url}");
        }
        for (no, url) in [
            ("relay.test:9", "ws://relay.test:8"),
            ("[::1]:9", "ws://[::1]:8"),
            ("*.example.org", "ws://relay.test"),
            ("lay.test", "ws://relay.test"),
            (":", "ws://relay.test"),
            ("[", "ws://relay.test"),
            ("", "ws://relay.test"),
        ] {
            assert!(!direct(no, url), "{no} {url}");
        }
    }
}
