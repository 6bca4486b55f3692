//! Which web pages may reach a listener (TR-16).
//!
//! A page in a browser may open a WebSocket to any address, also on the user's own machine; the
//! browser names the page in `Origin`. And a page may have its own name resolve to the user's
//! machine (DNS rebinding), so that the browser counts what answers there as the page's own; the
//! browser then sends that name in `Host`. Programs send no `Origin`.

use std::{fmt, net::IpAddr, net::SocketAddr, str::FromStr, sync::Arc};

use bowline_protocol::Reach;
use http::{HeaderMap, Request, StatusCode, header, uri::Authority};

use crate::{as_text, upgrade::Refusal};

const FOREIGN_PAGE: Refusal = (
    StatusCode::FORBIDDEN,
    "a web page may not connect here: its `Origin` is not among `allowed_origins` of the settings",
);
const FOREIGN_NAME: Refusal = (
    StatusCode::FORBIDDEN,
    "this listener is for its own machine: `Host` must be a loopback name, an address, or one of `allowed_hosts` of the settings",
);

/// The origin of a web page or of an app's web view, as browsers send it:
/// `https://app.example.org`, with a port unless it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        };
        let is_place = |place: &str| {
            !place.is_empty()
                && place
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
        };
        match text.split_once("://") {
            Some((scheme, place)) if is_scheme(scheme) && is_place(place) => {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(format!(
                "`{text}` is no origin; write SCHEME://HOST, with :PORT if it is not the usual one, for example https://app.example.org"
            )),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(Origin);

/// A name under which a listener is reached, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if !text.is_empty() && text.bytes().all(is_name) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!(
                "`{text}` is no host's name; write it without scheme and port, for example relay.example.org"
            ))
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(HostName);

/// The web pages and names that a listener admits.
#[derive(Clone, Debug)]
pub struct WebAccess {
    origins: Arc<[Origin]>,
    hosts: Arc<[HostName]>,
    is_loopback: bool,
}

impl WebAccess {
    /// Access for these origins, and under these names besides those of loopback.
    pub fn new(origins: &[Origin], hosts: &[HostName]) -> Self {
        Self {
            origins: origins.into(),
            hosts: hosts.into(),
            is_loopback: false,
        }
    }

    /// The same, for the listener of this address.
    #[must_use]
    pub fn at(&self, listener: SocketAddr) -> Self {
        Self {
            is_loopback: listener.ip().to_canonical().is_loopback(),
            ..self.clone()
        }
    }

    /// Checks the name that a request was sent to. Only a loopback listener checks it: the others
    /// are reached under names that only their network knows. A request without `Host` comes from
    /// no browser.
    ///
    /// # Errors
    /// 403 for a name that is neither a loopback name, nor an address, nor allowed.
    pub fn check_host<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        if !self.is_loopback {
            return Ok(());
        }
        let target = request.uri().authority().cloned().map(Ok);
        let headers = request.headers().get_all(header::HOST).iter();
        let sent = headers.map(|value| Authority::try_from(value.as_bytes()));
        for authority in target.into_iter().chain(sent) {
            let authority = authority.map_err(|_| FOREIGN_NAME)?;
            if !self.is_own(authority.host()) {
                return Err(FOREIGN_NAME);
            }
        }
        Ok(())
    }

    fn is_own(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // The name of a page is never an address of this machine.
        bare.parse::<IpAddr>().is_ok()
            || Reach::of_host(host) == Reach::Loopback
            || self
                .hosts
                .iter()
                .any(|allowed| allowed.0.eq_ignore_ascii_case(host))
    }

    /// Checks the web page that a WebSocket request comes from, if a page sent it.
    ///
    /// # Errors
    /// 403 for a page that is not allowed.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let is_allowed = |value: &header::HeaderValue| {
            let mut allowed = self.origins.iter();
            allowed.any(|origin| value.as_bytes().eq_ignore_ascii_case(origin.0.as_bytes()))
        };
        match sent.all(is_allowed) {
            true => Ok(()),
            false => Err(FOREIGN_PAGE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(listener: &str) -> WebAccess {
        let origins = ["https://app.example.org".parse().unwrap()];
        let hosts = ["Relay.Example.org".parse().unwrap()];
        WebAccess::new(&origins, &hosts).at(listener.parse().unwrap())
    }

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn tr_16_a_web_page_is_refused_unless_it_is_allowed() {
        let access = access("0.0.0.0:1");
        let of = |origins: &[&str]| {
            let headers: Vec<_> = origins.iter().map(|origin| ("origin", *origin)).collect();
            access.check_origin(request(&headers).headers())
        };
        of(&[]).unwrap();
        of(&["https://app.example.org"]).unwrap();
        of(&["HTTPS://App.Example.org"]).unwrap();
        for foreign in [
            "null",
            "",
            "https://evil.example",
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://app.example.org.evil.example",
            "https://app.example.org/",
        ] {
            assert_eq!(of(&[foreign]).unwrap_err().0, 403, "{foreign}");
        }
        let both = of(&["https://app.example.org", "https://evil.example"]);
        assert_eq!(both.unwrap_err().0, 403);
    }

    #[test]
    fn tr_16_a_loopback_listener_is_not_reached_under_a_foreign_name() {
        for own in [
            "localhost",
            "LOCALHOST:4717",
            "a.localhost",
            "127.0.0.1:4717",
            "[::1]:4717",
            "192.168.1.5",
            "relay.example.org:443",
        ] {
            for listener in ["127.0.0.1:1", "[::1]:1"] {
                let checked = access(listener).check_host(&request(&[("host", own)]));
                checked.unwrap_or_else(|_| panic!("{own} at {listener}"));
            }
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example:4717",
            "x",
            "a b",
            "",
        ] {
            let sent = request(&[("host", foreign)]);
            let refused = access("127.0.0.1:1").check_host(&sent).unwrap_err();
            assert_eq!(refused.0, 403, "{foreign}");
            access("0.0.0.0:1").check_host(&sent).unwrap();
        }
        let two = request(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(access("127.0.0.1:1").check_host(&two).is_err());
        access("127.0.0.1:1").check_host(&request(&[])).unwrap();
        let target = Request::get("http://evil.example/healthz")
            .body(())
            .unwrap();
        assert!(access("127.0.0.1:1").check_host(&target).is_err());
    }

    #[test]
    fn what_is_no_origin_and_no_name_is_refused() {
        for good in [
            "https://a.example",
            "app://-",
            "tauri://localhost",
            "http://[::1]:5173",
        ] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in [
            "null",
            "*",
            "a.example",
            "https://",
            "https://a/",
            "https://a?b",
            "1://a",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
        for bad in ["", "https://a", "a:1", "[::1]", "*.a"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }
}
