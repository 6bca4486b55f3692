//! The pairing offer: a link with a daemon's addresses, its keys and a one-time pairing token.
//!
//! ```text
//! bowline://pair?v=1&s=<serverId>&k=<base64url X25519 key>&t=<token>&n=<name>&d=<host:port>…&r=<relay>…
//! ```

use std::{fmt, str::FromStr};

use crate::{
    IdentityError, PublicKey, ServerId,
    identity::byte_identity,
    place::{Reach, host_and_port},
    relay::{RelayUrl, RelayUrlError},
    text,
};

/// Longest offer in bytes; a longer text is an error, not truncated.
const MAX_OFFER_BYTES: usize = 4_096;
/// Most addresses of each kind in one offer; more are an error.
const MAX_ADDRESSES: usize = 16;
const PREFIX: &str = "bowline://pair?";

byte_identity!(
    /// A one-time pairing token: 16 random bytes, base64url in text.
    PairingToken, "pairing token", 16, secret
);

/// Why a text is not a pairing offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// A text of another kind.
    #[error("not a pairing offer: it must begin with `{PREFIX}`")]
    NotAnOffer,
    /// Made by a newer daemon.
    #[error("offer version {0} is not supported; update this app")]
    Version(String),
    /// A required part is absent.
    #[error("the offer is incomplete: `{0}` is missing")]
    Missing(&'static str),
    /// A part occurs twice that may occur once, or an address does.
    #[error("the offer is malformed: `{0}` occurs twice")]
    Repeated(&'static str),
    /// A part is malformed.
    #[error("the offer is malformed: {0}")]
    Malformed(String),
    /// A part is over its bound.
    #[error("the offer is too long: {0}")]
    TooLong(&'static str),
    /// A key or id in it is malformed.
    #[error("the offer is malformed: {0}")]
    Identity(#[from] IdentityError),
}

/// A pairing offer (`docs/protocol.md` §10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The daemon's identity.
    pub server_id: ServerId,
    /// The daemon's transport key, pinned by the client.
    pub transport_key: PublicKey,
    /// The one-time pairing token.
    pub token: PairingToken,
    /// The daemon's name, for people.
    pub name: String,
    /// `host:port` of its direct listeners.
    pub direct: Vec<String>,
    /// Base URLs of relays it registers with.
    pub relays: Vec<String>,
}

impl Offer {
    /// Whether every address is a loopback address, reachable on the daemon's own machine only.
    pub fn is_for_one_machine(&self) -> bool {
        let mut addresses = self.direct.iter().chain(&self.relays);
        addresses.all(|address| reach(address) == Reach::Loopback)
    }
}

/// From where an address of an offer can be reached: `host:port`, or the URL of a relay.
pub fn reach(address: &str) -> Reach {
    match address.parse::<RelayUrl>() {
        Ok(url) => Reach::of_host(url.host()),
        Err(_) => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            Reach::of_host(host)
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}v=1&s={}&k={}&t={}",
            self.server_id, self.transport_key, self.token
        )?;
        write!(f, "&n={}", escape(&self.name))?;
        for address in &self.direct {
            write!(f, "&d={}", escape(address))?;
        }
        for relay in &self.relays {
            write!(f, "&r={}", escape(relay))?;
        }
        Ok(())
    }
}

impl FromStr for Offer {
    type Err = OfferError;

    fn from_str(text: &str) -> Result<Self, OfferError> {
        let text = text.trim();
        let query = text.strip_prefix(PREFIX).ok_or(OfferError::NotAnOffer)?;
        if text.len() > MAX_OFFER_BYTES {
            return Err(OfferError::TooLong("more than 4096 bytes"));
        }
        // All others are written percent-encoded: a link that holds them was put together by hand.
        let is_written = |b: u8| b.is_ascii_graphic() && !b"?#@".contains(&b);
        if !query.bytes().all(is_written) {
            let what = "it holds a space, `?`, `#`, `@` or another character that no offer is written with";
            return Err(OfferError::Malformed(what.to_owned()));
        }
        let (mut version, mut server, mut key, mut token, mut name) =
            (None, None, None, None, None);
        let (mut direct, mut relays) = (Vec::new(), Vec::new());
        for part in query.split('&') {
            let (field, value) = part
                .split_once('=')
                .ok_or_else(|| OfferError::Malformed("a part without `=`".to_owned()))?;
            let value = unescape(value)?;
            match field {
                "v" => once(&mut version, "v", value)?,
                "s" => once(&mut server, "s", value)?,
                "k" => once(&mut key, "k", value)?,
                "t" => once(&mut token, "t", value)?,
                "n" => once(&mut name, "n", value)?,
                "d" => push(&mut direct, "d", host_port(value)?)?,
                "r" => push(&mut relays, "r", relay_url(&value)?)?,
                // Parts added by a later daemon are ignored.
                _ => {}
            }
        }
        let version = version.ok_or(OfferError::Missing("v"))?;
        if version != "1" {
            return Err(OfferError::Version(version.chars().take(16).collect()));
        }
        if direct.is_empty() && relays.is_empty() {
            return Err(OfferError::Missing("d or r (an address)"));
        }
        let name = name.unwrap_or_default();
        if name.contains(text::is_harmful) {
            let what = "the name holds control characters or invisible ones";
            return Err(OfferError::Malformed(what.to_owned()));
        }
        Ok(Self {
            server_id: server.ok_or(OfferError::Missing("s"))?.parse()?,
            transport_key: key.ok_or(OfferError::Missing("k"))?.parse()?,
            token: token.ok_or(OfferError::Missing("t"))?.parse()?,
            name,
            direct,
            relays,
        })
    }
}

fn once(slot: &mut Option<String>, field: &'static str, value: String) -> Result<(), OfferError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(OfferError::Repeated(field)),
    }
}

fn push(list: &mut Vec<String>, field: &'static str, value: String) -> Result<(), OfferError> {
    if list.len() == MAX_ADDRESSES {
        return Err(OfferError::TooLong("more than 16 addresses"));
    }
    if list.iter().any(|other| other.eq_ignore_ascii_case(&value)) {
        return Err(OfferError::Repeated(field));
    }
    list.push(value);
    Ok(())
}

/// Checks `host:port`; IPv6 hosts are in brackets. The error does not repeat the text, which may
/// hold anything.
fn host_port(value: String) -> Result<String, OfferError> {
    if is_direct(&value) {
        return Ok(value);
    }
    let what = "an address is not host:port, as in laptop.local:4717 or [fd00::1]:4717";
    Err(OfferError::Malformed(what.to_owned()))
}

/// Whether a text is a direct address of an offer: `host:port`, IPv6 hosts in brackets.
pub fn is_direct(text: &str) -> bool {
    matches!(host_and_port(text), Ok((_, Some(_))))
}

fn relay_url(value: &str) -> Result<String, OfferError> {
    // The error does not repeat the value: it may contain a secret.
    let url: RelayUrl = value
        .parse()
        .map_err(|error: RelayUrlError| OfferError::Malformed(error.to_string()))?;
    // Relays require tokens of daemons only, so a token in an offer would only be leaked to
    // clients.
    if url.token().is_some() {
        let what = "a relay's URL with a token in it; the daemon that made it must be updated";
        return Err(OfferError::Malformed(what.to_owned()));
    }
    Ok(url.as_str().to_owned())
}

/// Percent-encodes all but the unreserved characters of RFC 3986 and those harmless in a value.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn unescape(text: &str) -> Result<String, OfferError> {
    text::percent_decoded(text).ok_or_else(|| {
        OfferError::Malformed("a broken percent escape, or text that is not UTF-8".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            server_id: ServerId::of_public_key(&[7; 32]),
            transport_key: PublicKey::from_bytes([9; 32]),
            token: PairingToken::from_bytes([3; 16]),
            name: "Ann's laptop & more".to_owned(),
            direct: vec!["192.168.1.5:4717".to_owned(), "[fe80::1]:4717".to_owned()],
            relays: vec!["wss://relay.example/base".to_owned()],
        }
    }

    #[test]
    fn an_offer_reads_back_as_written() {
        let text = offer().to_string();
        assert_eq!(text.parse::<Offer>().unwrap(), offer());
    }

    #[test]
    fn each_malformed_text_has_its_error() {
        let good = offer().to_string();
        let parse = |text: &str| text.parse::<Offer>().unwrap_err().to_string();
        assert!(parse("https://example.org").contains("must begin with"));
        assert!(parse(&good.replace("v=1", "v=2")).contains("version 2"));
        assert!(parse(&good.replace("&t=", "&x=")).contains("`t` is missing"));
        assert!(parse(&format!("{good}&s=srv_x")).contains("occurs twice"));
        assert!(parse(&good.replace(":4717", "")).contains("not host:port"));
        assert!(parse(&good.replace("wss:", "https:")).contains("wss://"));
        for wrong in ["S3CRET%40relay", "S3CRET/x%40relay", "S3CRET%23x%40relay"] {
            let text = parse(&good.replace("relay.example", wrong));
            assert!(
                text.contains("malformed") && !text.contains("S3CRET"),
                "{text}"
            );
        }
        assert!(parse(&good.replace("%27", "%2")).contains("percent"));
        assert!(parse(&format!("{good}&d={}", "x".repeat(5_000))).contains("too long"));
    }

    /// TR-14: a link that was tampered with is refused whole.
    #[test]
    fn tr_14_an_offer_is_parsed_strictly() {
        let good = offer().to_string();
        let refused = |from: &str, to: &str| {
            let text = good.replace(from, to);
            assert_ne!(text, good, "{from}");
            let error = text.parse::<Offer>().unwrap_err();
            assert!(!error.to_string().contains("evil"), "{error}");
            error
        };
        for evil in [
            "evil@192.168.1.5",
            "evil%40192.168.1.5",
            "evil?x",
            "evil%3Fx",
            "evil#x",
            "evil%23x",
            "evil/x",
            "evil%2Fx",
            "evil%0A",
            "evil%1B%5B2J",
            "evil%00",
            "evil%20x",
            "evil x",
            "evil\u{202e}",
            "evil%E2%80%AE",
            "b%C3%BCcher",
            "127.1",
            "0x7f000001",
            "2130706433",
        ] {
            let error = refused("192.168.1.5", evil);
            assert!(matches!(error, OfferError::Malformed(_)), "{evil}: {error}");
            if evil.ends_with("/x") || evil.ends_with("%2Fx") {
                continue; // a path, which a relay's URL may have
            }
            let error = refused("relay.example", evil);
            assert!(matches!(error, OfferError::Malformed(_)), "{evil}: {error}");
        }
        for evil in [
            "evil%1B%5B2J",
            "evil%0A",
            "evil%E2%80%AE",
            "evil#",
            "evil?",
            "evil\n",
        ] {
            let error = refused("Ann", evil);
            assert!(matches!(error, OfferError::Malformed(_)), "{evil}: {error}");
        }
        for scheme in ["https:", "http:", "file:", "javascript:", "bowline:", ""] {
            let error = refused("wss:", scheme);
            assert!(
                matches!(error, OfferError::Malformed(_)),
                "{scheme}: {error}"
            );
        }
        let many: String = (1..=100).map(|n| format!("&d=h{n}:1")).collect();
        let error = format!("{good}{many}").parse::<Offer>().unwrap_err();
        assert_eq!(error, OfferError::TooLong("more than 16 addresses"));
        for twice in ["&d=192.168.1.5:4717", "&r=wss://RELAY.example/base"] {
            let error = format!("{good}{twice}").parse::<Offer>().unwrap_err();
            assert!(matches!(error, OfferError::Repeated(_)), "{error}");
        }
    }

    #[test]
    fn tr_14_the_reach_of_each_address_is_known() {
        assert_eq!(reach("192.168.1.5:4717"), Reach::Private);
        assert_eq!(reach("[::1]:4717"), Reach::Loopback);
        assert_eq!(reach("wss://relay.example/base"), Reach::Public);
        assert_eq!(reach("ws://[::1]:4718"), Reach::Loopback);
        let mut here = offer();
        assert!(!here.is_for_one_machine());
        here.direct = vec!["127.0.0.1:4717".to_owned()];
        here.relays = vec!["ws://localhost:4718".to_owned()];
        assert!(here.is_for_one_machine());
    }

    #[test]
    fn a_token_is_never_printed_by_debug() {
        assert!(!format!("{:?}", offer()).contains(&offer().token.to_string()));
    }
}
