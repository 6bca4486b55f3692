//! The URL of a relay, parsed once: `wss://relay.example.org/base`, or
//! `wss://TOKEN@relay.example.org` for a daemon at a private relay.
//!
//! The token is a secret. `Display`, `Debug` and serde omit it, and no error repeats the input: if
//! the token contains a raw `/`, any part of the text may be secret.

use std::{fmt, str::FromStr};

use super::RelayOrigin;
use crate::{identity::text_serde, text};

use crate::place::{PlaceError, host_and_port};

/// Longest URL in bytes. A longer one is [`RelayUrlError::TooLong`].
const MAX_BYTES: usize = 2_048;

/// The base URL of a relay. `wss` is TLS; `ws` is for tests and private networks (the content is
/// end-to-end encrypted either way). URLs are equal if they and their tokens are.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// Normalised text without the token.
    text: String,
    token: Option<String>,
    origin: RelayOrigin,
    base: String,
}

/// Why a text is not a relay URL. No error repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayUrlError {
    /// Neither `ws://` nor `wss://` at the beginning.
    #[error(
        "not a relay URL: it must begin with wss:// (or ws://, without TLS), as in wss://relay.example.org"
    )]
    Scheme,
    /// `https://` instead of `wss://`.
    #[error("a relay's URL begins with wss://, not https://")]
    Https,
    /// `http://` instead of `ws://`.
    #[error("a relay's URL begins with ws:// (or wss://, with TLS), not http://")]
    Http,
    /// A character that must be escaped in a token, and means nothing in a relay's URL otherwise.
    #[error(
        "not a relay URL: `?`, `#` and a second `@` have no meaning in it; a token that holds `/`, `?`, `#`, `@` or `%` is \
         written percent-encoded (%2F, %3F, %23, %40, %25), as in wss://TOKEN@relay.example.org"
    )]
    Ambiguous,
    /// A space, a control character, or a non-ASCII character.
    #[error(
        "not a relay URL: it holds a character that must be percent-encoded, or in a host's name be written as xn--…"
    )]
    Character,
    /// `@` without a token, or a token that does not decode to printable text.
    #[error(
        "the token in a relay's URL is empty, or its percent-encoding is broken; %2F stands for `/`"
    )]
    Token,
    /// No host, or neither a name nor an address.
    #[error(
        "a relay's URL needs a host's name or address, an IPv6 one in brackets, as in wss://relay.example.org"
    )]
    Host,
    /// Not a port from 1 to 65535.
    #[error("the port in a relay's URL must be a number from 1 to 65535")]
    Port,
    /// Longer than the bound.
    #[error("a relay's URL has at most {MAX_BYTES} bytes")]
    TooLong,
}

impl RelayUrl {
    /// The text without the token: scheme and host in lower case, no default port, no trailing
    /// slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The token that a private relay requires of daemons, decoded.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same URL with this token, which may be any printable text.
    ///
    /// # Errors
    /// [`RelayUrlError::Token`].
    pub fn with_token(self, token: &str) -> Result<Self, RelayUrlError> {
        Ok(Self {
            token: Some(printable(token.to_owned())?),
            ..self
        })
    }

    /// The same URL without its token.
    #[must_use]
    pub fn without_token(self) -> Self {
        Self {
            token: None,
            ..self
        }
    }

    /// Whether the URL uses TLS.
    pub const fn is_secure(&self) -> bool {
        self.origin.is_secure()
    }

    /// Host name or address; IPv6 addresses without their brackets.
    pub fn host(&self) -> &str {
        self.origin.host()
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.origin.port()
    }

    /// Scheme, host and port: what a registration there is bound to (TR-9).
    pub const fn origin(&self) -> &RelayOrigin {
        &self.origin
    }

    /// The path prefix of the relay's own paths: empty, or with a leading slash and no trailing
    /// one.
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
        // An `@` after the first slash means that the token itself contains a raw slash.
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
        let (host, port) = host_and_port(place).map_err(|error| match error {
            PlaceError::Host => RelayUrlError::Host,
            PlaceError::Port => RelayUrlError::Port,
        })?;
        let default = if secure { 443 } else { 80 };
        let host = host.to_ascii_lowercase();
        let origin = RelayOrigin::of(secure, &host, port.unwrap_or(default));
        let base = path.trim_end_matches('/');
        Ok(Self {
            text: format!("{origin}{base}"),
            token: token.map(decode).transpose()?,
            origin,
            base: base.to_owned(),
        })
    }
}

/// Decodes a percent-encoded token, which may be any printable text.
fn decode(token: &str) -> Result<String, RelayUrlError> {
    printable(text::percent_decoded(token).ok_or(RelayUrlError::Token)?)
}

fn printable(token: String) -> Result<String, RelayUrlError> {
    if token.is_empty() || token.chars().any(char::is_control) {
        return Err(RelayUrlError::Token);
    }
    Ok(token)
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

text_serde!(RelayUrl, |url, to| to.serialize_str(&url.text));

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
    fn a_url_is_parsed_into_its_parts() {
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
    fn case_c32_scheme_and_host_are_case_insensitive_and_normalised() {
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
    fn each_malformed_text_has_its_error() {
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

    /// C33: a token with `/` was parsed as host and path, and reached offers, logs, DNS and
    /// clients' files.
    #[test]
    fn case_c33_a_token_is_percent_decoded_and_an_ambiguous_one_is_refused_unrepeated() {
        let private = url("ws://Zm9v%2FYmFy%40%23%3F%25@127.0.0.1:48100");
        assert_eq!(private.token(), Some("Zm9v/YmFy@#?%"));
        assert_eq!((private.host(), private.port()), ("127.0.0.1", 48_100));
        assert_eq!(url("wss://user:pass@h").token(), Some("user:pass"));
        let with = |token: &str| url("wss://h/p").with_token(token);
        let told = with("a/b%2F").unwrap();
        assert_eq!((told.token(), told.as_str()), (Some("a/b%2F"), "wss://h/p"));
        assert_eq!(with("").unwrap_err(), RelayUrlError::Token);
        assert_eq!(with("a\nb").unwrap_err(), RelayUrlError::Token);
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
