//! Chooses the proxy of a connection, if any, and tunnels through it.
//!
//! | target | proxy |
//! |---|---|
//! | a relay, `wss://` | `HTTPS_PROXY`, else `ALL_PROXY` |
//! | a relay, `ws://` | `HTTP_PROXY`, else `ALL_PROXY` |
//! | a daemon's direct address | `ALL_PROXY`, unless the address is near ([`is_near`]) |
//!
//! `NO_PROXY` excepts hosts from every rule, and each variable may be in lower case. The proxy
//! resolves names. No text contains the user or the password.

mod connect;
mod exceptions;
mod socks;

use std::{fmt, net::IpAddr, time::Duration};

use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use self::exceptions::Exceptions;
use crate::{
    destination::{Destination, place},
    dialer::Wire,
    error::ConnectProblem,
    tls::TlsProblem,
};

/// Why a proxy is unusable.
#[derive(Debug, thiserror::Error)]
pub enum ProxyProblem {
    /// A variable or setting is not a proxy URL. The value is not repeated, since it may contain a
    /// password.
    #[error(
        "{0} is not the URL of a proxy; write http://, https:// or socks5://, then host:port; `/`, `?`, `#` and `@` in a password are percent-encoded"
    )]
    Unusable(&'static str),
    /// No TCP connection to the proxy.
    #[error("the proxy at {place} is not reachable: {problem}")]
    Connect {
        /// `host:port` of the proxy.
        place: String,
        /// The problem.
        problem: ConnectProblem,
    },
    /// The TLS handshake with an `https://` proxy failed.
    #[error("no TLS with the proxy at {place}: {problem}")]
    Tls {
        /// `host:port` of the proxy.
        place: String,
        /// The TLS problem.
        problem: TlsProblem,
    },
    /// An HTTP proxy answered `CONNECT` with a status other than success.
    #[error("the proxy at {place} refused ({status}): {}", connect::meaning(*.status))]
    Refused {
        /// `host:port` of the proxy.
        place: String,
        /// The HTTP status.
        status: u16,
        /// Least delay of the next attempt, from `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// A SOCKS proxy refused.
    #[error("the proxy at {place} refused: {problem}")]
    Socks {
        /// `host:port` of the proxy.
        place: String,
        /// The proxy's answer.
        problem: String,
    },
    /// The server does not answer as a proxy.
    #[error("{place} does not answer as a proxy: {problem}")]
    Protocol {
        /// `host:port` of the proxy.
        place: String,
        /// The problem.
        problem: String,
    },
}

impl ProxyProblem {
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The proxy rules. Their `Debug` omits the proxies.
#[derive(Default)]
pub struct Proxies {
    secure_relays: Rule,
    plain_relays: Rule,
    daemons: Rule,
    /// Whether near addresses of daemons are reached without a proxy.
    but_near: bool,
}

#[derive(Default)]
enum Rule {
    #[default]
    Direct,
    /// Name of the unusable variable.
    Unusable(&'static str),
    Via(Box<(Matcher, Exceptions)>),
}

impl Proxies {
    /// Rules without a proxy.
    pub fn none() -> Self {
        Self::default()
    }

    /// Rules from the environment.
    pub fn from_env() -> Self {
        Self::from_variables(|name| {
            let value =
                std::env::var_os(name).or_else(|| std::env::var_os(name.to_ascii_lowercase()));
            value.map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// One proxy for every relay, and for daemons that are not near.
    pub fn all(url: &str) -> Self {
        let url = url.trim();
        if url.is_empty() {
            return Self::none();
        }
        let rule = || Rule::new("`proxy`", url.to_owned(), "");
        Self {
            secure_relays: rule(),
            plain_relays: rule(),
            daemons: rule(),
            but_near: true,
        }
    }

    fn from_variables(variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let set = |name: &'static str| {
            let value = variable(name).map(|value| value.trim().to_owned());
            value
                .filter(|value| !value.is_empty())
                .map(|value| (name, value))
        };
        let no = set("NO_PROXY").map_or_else(String::new, |(_, no)| no);
        let rule = |own: Option<&'static str>| {
            let said = own.and_then(set).or_else(|| set("ALL_PROXY"));
            said.map_or(Rule::Direct, |(name, value)| Rule::new(name, value, &no))
        };
        Self {
            secure_relays: rule(Some("HTTPS_PROXY")),
            plain_relays: rule(Some("HTTP_PROXY")),
            daemons: rule(None),
            but_near: true,
        }
    }

    /// The proxy for an destination.
    pub(crate) fn find(&self, destination: &Destination) -> Result<Option<Proxy>, ProxyProblem> {
        if !destination.is_relay && self.but_near && is_near(&destination.host) {
            return Ok(None);
        }
        let rule = match (destination.is_relay, destination.secure) {
            (true, true) => &self.secure_relays,
            (true, false) => &self.plain_relays,
            (false, _) => &self.daemons,
        };
        match rule {
            Rule::Direct => Ok(None),
            Rule::Unusable(name) => Err(ProxyProblem::Unusable(name)),
            Rule::Via(rule) => {
                let (matcher, exceptions) = &**rule;
                if exceptions.cover(destination) {
                    return Ok(None);
                }
                Ok(intercept(matcher, &destination.place()).and_then(Proxy::new))
            }
        }
    }
}

impl Rule {
    fn new(name: &'static str, value: String, no: &str) -> Self {
        let usable = Matcher::builder().all(value.clone()).build();
        if is_ambiguous(&value) || intercept(&usable, "host:1").and_then(Proxy::new).is_none() {
            return Self::Unusable(name);
        }
        let exceptions = Exceptions::parse(no);
        let anywhere = exceptions.anywhere().to_owned();
        let matcher = Matcher::builder().all(value).no(anywhere).build();
        Self::Via(Box::new((matcher, exceptions)))
    }
}

/// Whether a URL parser might take part of a password for the host, and so show it in texts: the
/// password contains a raw `/`, `?` or `#`.
fn is_ambiguous(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let after = rest.split_once('/').map_or("", |(_, after)| after);
    rest.contains(['?', '#', '\\']) || after.contains('@')
}

fn intercept(matcher: &Matcher, place: &str) -> Option<Intercept> {
    matcher.intercept(&format!("http://{place}/").parse().ok()?)
}

/// Whether a host is this machine or in its own network, judged by its address or name alone:
/// loopback, link-local and private addresses, names of one label and those under `.local`.
fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
        Err(_) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            !host.contains('.') || host.ends_with(".local") || host.ends_with(".localhost")
        }
    }
}

/// One proxy.
pub(crate) struct Proxy {
    kind: Kind,
    pub(crate) host: String,
    pub(crate) port: u16,
    intercept: Intercept,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Socks5,
}

impl Proxy {
    /// `None` for an unsupported kind of proxy.
    fn new(intercept: Intercept) -> Option<Self> {
        let uri = intercept.uri();
        let (kind, port) = match uri.scheme_str()? {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks5" | "socks5h" => (Kind::Socks5, 1_080),
            _ => return None,
        };
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(port);
        (!host.is_empty()).then_some(Self {
            kind,
            host,
            port,
            intercept,
        })
    }

    /// Whether the connection to the proxy itself uses TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.kind == Kind::Https
    }

    /// `host:port`.
    pub(crate) fn place(&self) -> String {
        place(&self.host, self.port)
    }

    /// Makes the proxy connect to an destination. The stream then leads to the destination.
    pub(crate) async fn tunnel(
        &self,
        stream: Box<dyn Wire>,
        destination: &Destination,
    ) -> Result<Box<dyn Wire>, ProxyProblem> {
        match self.kind {
            Kind::Http | Kind::Https => {
                let authorization = self.intercept.basic_auth().map(|value| value.as_bytes());
                connect::tunnel(stream, &self.place(), &destination.place(), authorization).await
            }
            Kind::Socks5 => {
                let login = self.intercept.raw_auth();
                socks::tunnel(
                    stream,
                    &self.place(),
                    (&destination.host, destination.port),
                    login,
                )
                .await
            }
        }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn via(proxies: &Proxies, url: &str) -> Option<String> {
        let destination = match url.split_once("://") {
            Some(_) => Destination::relay(&url.parse().unwrap(), "/"),
            None => Destination::direct(url, "/").unwrap(),
        };
        proxies
            .find(&destination)
            .unwrap()
            .map(|proxy| proxy.place())
    }

    #[test]
    fn case_c34_each_kind_of_path_has_its_variable() {
        let both = proxies(&[
            ("HTTPS_PROXY", "http://s.example:1"),
            ("HTTP_PROXY", "http://p.example:2"),
            ("ALL_PROXY", "socks5h://a.example"),
        ]);
        assert_eq!(via(&both, "wss://r.example").unwrap(), "s.example:1");
        assert_eq!(via(&both, "ws://127.0.0.1:4718").unwrap(), "p.example:2");
        assert_eq!(via(&both, "laptop.example:4717").unwrap(), "a.example:1080");
        let one = proxies(&[("HTTPS_PROXY", "s.example:1")]);
        assert_eq!(via(&one, "wss://r.example").unwrap(), "s.example:1");
        assert_eq!(via(&one, "ws://r.example"), None);
        assert_eq!(via(&one, "laptop.example:4717"), None);
        assert_eq!(
            via(&Proxies::all("https://p.example"), "ws://r").unwrap(),
            "p.example:443"
        );
        assert_eq!(via(&proxies(&[("ALL_PROXY", " ")]), "ws://r"), None);
    }

    #[test]
    fn case_c34_no_proxy_and_near_daemons_are_excepted() {
        let some = proxies(&[
            ("ALL_PROXY", "http://[fd00::9]:3128"),
            ("NO_PROXY", "internal.example, 10.0.0.0/8,::1"),
        ]);
        assert_eq!(via(&some, "wss://relay.internal.example"), None);
        assert_eq!(via(&some, "wss://10.1.2.3"), None);
        assert_eq!(via(&some, "wss://[::1]"), None);
        assert_eq!(
            via(&some, "wss://notinternal.example").unwrap(),
            "[fd00::9]:3128"
        );
        for near in [
            "127.0.0.1:1",
            "192.168.1.5:1",
            "172.16.0.1:1",
            "169.254.3.4:1",
            "[::1]:1",
            "[fe80::1]:1",
        ] {
            assert_eq!(via(&some, near), None, "{near}");
        }
        for near in ["[fd00::1]:1", "laptop:1", "Laptop.Local:1", "x.localhost:1"] {
            assert_eq!(via(&some, near), None, "{near}");
        }
        // Addresses of a virtual network may need the proxy.
        for far in [
            "100.100.1.2:1",
            "8.8.8.8:1",
            "[2001:db8::1]:1",
            "laptop.example:1",
        ] {
            assert!(via(&some, far).is_some(), "{far}");
        }
        assert_eq!(
            via(
                &proxies(&[("ALL_PROXY", "http://p"), ("NO_PROXY", "*")]),
                "ws://r"
            ),
            None
        );
    }

    #[test]
    fn case_c34_an_unusable_proxy_is_reported_and_never_ignored() {
        for wrong in [
            "ftp://s3cret@p",
            "socks4://s3cret@p",
            "http://",
            "http://s3cret@",
            "s3 cret",
            "http://s3cret/x@127.0.0.1:1",
            "s3cret/x@127.0.0.1:1",
            "http://u:s3cret#x@h",
            "socks5://s3cret?x@h:1",
        ] {
            let proxies = proxies(&[("HTTPS_PROXY", wrong)]);
            let destination = Destination::relay(&"wss://r".parse().unwrap(), "/");
            let error = proxies
                .find(&destination)
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("HTTPS_PROXY") && !error.contains("cret"),
                "{error}"
            );
        }
        let destination = Destination::relay(&"wss://r".parse().unwrap(), "/");
        let error = Proxies::all("gopher://x")
            .find(&destination)
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains("`proxy`"), "{error}");
    }
}
