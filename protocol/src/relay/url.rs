//! The URL of a relay, parsed once: `wss://relay.example.org/base`, or `wss://TOKEN@relay.example.org` for a daemon at a
//! private relay.
//!
//! The token is a secret. No text of this type holds it, neither `Display` nor `Debug` nor what serde writes, and no error
//! repeats what was written: where a token with a raw `/` was meant, every other part of the text may be it.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest URL in bytes. A longer one is [`RelayUrlError::TooLong`].
const MAX_BYTES: usize = 2_048;

/// The base URL of a relay. `wss` is TLS; `ws` is for tests and own networks (what is carried is end-to-end encrypted
/// either way). Two URLs of one relay are equal if their tokens are.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// Without the token, in one spelling.
    text: String,
    token: Option<String>,
    secure: bool,
    host: String,
    port: u16,
    base: String,
}

/// Why a text is no URL of a relay. None repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayUrlError {
    /// No `ws://` or `wss://` in front.
    #[error(
        "that is no relay URL: it must begin with wss:// (or ws://, without TLS), as in wss://relay.example.org"
    )]
    Scheme,
    /// `https://`, for which `wss://` is meant.
    #[error("a relay's URL begins with wss://, not https://")]
    Https,
    /// `http://`, for which `ws://` is meant.
    #[error("a relay's URL begins with ws:// (or wss://, with TLS), not http://")]
    Http,
    /// A character that must be escaped in a token, and means nothing in a relay's URL otherwise.
    #[error(
        "that is no relay URL: `?`, `#` and a second `@` have no meaning in it; a token that holds `/`, `?`, `#`, `@` or `%` is \
         written percent-encoded (%2F, %3F, %23, %40, %25), as in wss://TOKEN@relay.example.org"
    )]
    Ambiguous,
    /// A space, a control character, or one beyond ASCII.
    #[error(
        "that is no relay URL: it holds a character that must be percent-encoded, or in a host's name be written as xn--…"
    )]
    Character,
    /// `@` without a token, or a token that does not decode to printable text.
    #[error(
        "the token in a relay's URL is empty, or its percent-encoding is broken; %2F stands for `/`"
    )]
    Token,
    /// No host, or not the name or address of one.
    #[error(
        "a relay's URL needs a host's name or address, an IPv6 one in brackets, as in wss://relay.example.org"
    )]
    Host,
    /// Not a port from 1 to 65535.
    #[error("the port in a relay's URL must be a number from 1 to 65535")]
    Port,
    /// Over a bound.
    #[error("a relay's URL has at most {MAX_BYTES} bytes")]
    TooLong,
}

impl RelayUrl {
    /// The text, without the token: scheme and host in small letters, no default port, no slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a private relay asks daemons for, decoded.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether TLS is spoken.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Name or address, an IPv6 one without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path in front of the relay's own paths: empty, or with a slash at its beginning and none at its end.
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        if text.len() > MAX_BYTES {
            return Err(RelayUrlError::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(RelayUrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "wss" => true,
            "ws" => false,
            "https" => return Err(RelayUrlError::Https),
            "http" => return Err(RelayUrlError::Http),
            _ => return Err(RelayUrlError::Scheme),
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest
                .split_at_checked(slash)
                .ok_or(RelayUrlError::Character)?,
            None => (rest, ""),
        };
        // An `@` behind the first slash can only mean that the token holds the slash.
        let clear = |part: &str| !part.contains(['?', '#', '@']);
        let (token, place) = match authority.split_once('@') {
            Some((token, place)) => (Some(token), place),
            None => (None, authority),
        };
        if !(clear(token.unwrap_or_default()) && clear(place) && clear(path)) {
            return Err(RelayUrlError::Ambiguous);
        }
        let usable = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
        if !rest.bytes().all(usable) {
            return Err(RelayUrlError::Character);
        }
        let (host, port) = host_and_port(place)?;
        let default = if secure { 443 } else { 80 };
        let host = host.to_ascii_lowercase();
        let base = path.trim_end_matches('/');
        let scheme = if secure { "wss" } else { "ws" };
        let shown_host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        let shown_port = match port {
            Some(port) if port != default => format!(":{port}"),
            _ => String::new(),
        };
        Ok(Self {
            text: format!("{scheme}://{shown_host}{shown_port}{base}"),
            token: token.map(decode).transpose()?,
            secure,
            host,
            port: port.unwrap_or(default),
            base: base.to_owned(),
        })
    }
}

fn host_and_port(place: &str) -> Result<(&str, Option<u16>), RelayUrlError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(RelayUrlError::Host)?;
            let _: Ipv6Addr = host.parse().map_err(|_| RelayUrlError::Host)?;
            match port {
                "" => (host, None),
                port => (
                    host,
                    Some(port.strip_prefix(':').ok_or(RelayUrlError::Port)?),
                ),
            }
        }
        None => {
            let (host, port) = match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            };
            let named = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if host.is_empty() || !host.bytes().all(named) {
                return Err(RelayUrlError::Host);
            }
            (host, port)
        }
    };
    let number = |port: &str| {
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        port.ok_or(RelayUrlError::Port)
    };
    Ok((host, port.map(number).transpose()?))
}

/// Undoes percent-encoding. The token may be any printable text.
fn decode(token: &str) -> Result<String, RelayUrlError> {
    let mut out = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(), digit());
        let decoded = high.zip(low).map(|(high, low)| high * 16 + low);
        let decoded = decoded.and_then(|decoded| u8::try_from(decoded).ok());
        out.push(decoded.ok_or(RelayUrlError::Token)?);
    }
    let text = String::from_utf8(out).map_err(|_| RelayUrlError::Token)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(RelayUrlError::Token);
    }
    Ok(text)
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayUrl({})", self.text)
    }
}

impl Serialize for RelayUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for RelayUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RelayUrl {
        text.parse().unwrap()
    }

    fn error(text: &str) -> RelayUrlError {
        text.parse::<RelayUrl>().unwrap_err()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let base = url("wss://relay.example.org/base/");
        assert_eq!((base.host(), base.port()), ("relay.example.org", 443));
        assert_eq!((base.base(), base.is_secure()), ("/base", true));
        let v6 = url("ws://[::1]:4718");
        assert_eq!((v6.host(), v6.port(), v6.base()), ("::1", 4718, ""));
        assert_eq!(v6.as_str(), "ws://[::1]:4718");
        assert_eq!(url("ws://h").port(), 80);
        assert_eq!(
            url("wss://xn--bcher-kva.example").host(),
            "xn--bcher-kva.example"
        );
    }

    /// C32: `WS://` was refused.
    #[test]
    fn case_c32_scheme_and_host_are_of_any_case_and_one_relay_has_one_spelling() {
        for same in [
            "WS://Relay.Example.ORG",
            "ws://relay.example.org:80/",
            "Ws://relay.example.org//",
        ] {
            assert_eq!(url(same), url("ws://relay.example.org"), "{same}");
        }
        assert_eq!(url("WSS://h:443").as_str(), "wss://h");
        assert_ne!(
            url("ws://h/Base"),
            url("ws://h/base"),
            "a path has its case"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        use RelayUrlError::{
            Ambiguous, Character, Host, Http, Https, Port, Scheme, Token, TooLong,
        };
        for (wrong, why) in [
            ("relay.example.org", Scheme),
            ("ftp://x", Scheme),
            ("http://foo", Http),
            ("HTTPS://foo", Https),
            ("wss://", Host),
            ("wss:///base", Host),
            ("wss://x:0", Port),
            ("wss://x:y", Port),
            ("wss://x:", Port),
            ("wss://x:+1", Port),
            ("wss://x:65536", Port),
            ("wss://[::1]x", Port),
            ("wss://[x]", Host),
            ("wss://x%41", Host),
            ("wss://x y", Character),
            ("wss://bücher.example", Character),
            ("wss://x?y", Ambiguous),
            ("wss://x#y", Ambiguous),
            ("wss://x/y?z", Ambiguous),
            ("wss://@x", Token),
            ("wss://%@x", Token),
            ("wss://a%2@x", Token),
            ("wss://a%zz@x", Token),
            ("wss://%00@x", Token),
            ("wss://%ff@x", Token),
            (&format!("wss://{}", "x".repeat(3_000)), TooLong),
        ] {
            assert_eq!(error(wrong), why, "{wrong}");
        }
        assert!(error("http://foo").to_string().contains("ws://"));
        assert!(error("https://foo").to_string().contains("wss://"));
    }

    /// C33: a token with `/` was read as host and path, and went from there into offers, logs, DNS and clients' files.
    #[test]
    fn case_c33_a_token_is_percent_decoded_and_one_that_cannot_be_meant_is_refused_unsaid() {
        let private = url("ws://Zm9v%2FYmFy%40%23%3F%25@127.0.0.1:48100");
        assert_eq!(private.token(), Some("Zm9v/YmFy@#?%"));
        assert_eq!((private.host(), private.port()), ("127.0.0.1", 48_100));
        assert_eq!(url("wss://user:pass@h").token(), Some("user:pass"));
        for wrong in [
            "ws://S3CRET/YmFy@127.0.0.1:48100",
            "ws://Zm9v/S3CRET@127.0.0.1:48100",
            "ws://S3CRET#x@h",
            "ws://S3CRET?x@h",
            "ws://S3CRET@x@h",
            "ws://a/b/S3CRET@h/base",
            "ws://S3CRET@",
            "ws://S3CRET%2@h",
            "ws://S3CRET@h:port",
            "S3CRET@h",
            "http://S3CRET@h",
        ] {
            let said = format!("{0} {0:?}", error(wrong));
            assert!(!said.contains("S3CRET"), "{said}");
        }
    }

    #[test]
    fn case_c33_no_text_of_a_url_holds_its_token() {
        let url = url("wss://s3cret%2F@relay.example.org/base");
        let json = serde_json::to_string(&url).unwrap();
        let said = format!("{url} {url:?} {} {json}", url.as_str());
        assert!(!said.contains("s3cret"), "{said}");
        assert_eq!(url.as_str(), "wss://relay.example.org/base");
    }
}
