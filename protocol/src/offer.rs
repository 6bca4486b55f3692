//! The pairing offer: a link that says where a daemon is, how to know it, and one chance to pair.
//!
//! `bowline://pair?v=1&s=<serverId>&k=<base64url X25519 key>&t=<token>&n=<name>&d=<host:port>…&r=<relay>…`

use std::{fmt, str::FromStr};

use crate::{
    IdentityError, PublicKey, ServerId,
    identity::base64url,
    relay::{RelayUrl, RelayUrlError},
};

/// Longest offer that is read; longer text is an error, not truncated.
const MAX_OFFER_BYTES: usize = 4_096;
/// Most addresses of each kind in one offer.
const MAX_ADDRESSES: usize = 16;
const PREFIX: &str = "bowline://pair?";

/// A one-time pairing token: 16 random bytes, base64url in text. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingToken([u8; 16]);

impl PairingToken {
    /// The token of 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// SHA-256 of the token: what a daemon stores, so that its files give no token away.
    pub fn digest(&self) -> [u8; 32] {
        crate::identity::sha256(&self.0)
    }
}

impl fmt::Display for PairingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url().encode(&self.0))
    }
}

impl fmt::Debug for PairingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingToken(…)")
    }
}

impl FromStr for PairingToken {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let bytes = base64url().decode(text.as_bytes()).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(IdentityError::new(
                "pairing token",
                "malformed: not 16 bytes of base64url",
            ))
    }
}

/// Why a text is no offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Another kind of text.
    #[error("not a pairing offer: it must begin with `{PREFIX}`")]
    NotAnOffer,
    /// Made by a newer daemon.
    #[error("offer version {0} is not supported; update this app")]
    Version(String),
    /// A required part is absent.
    #[error("the offer is incomplete: `{0}` is missing")]
    Missing(&'static str),
    /// A part that may stand once stands twice.
    #[error("the offer is malformed: `{0}` stands twice")]
    Repeated(&'static str),
    /// A part does not read as what it must be.
    #[error("the offer is malformed: {0}")]
    Malformed(String),
    /// Over a bound.
    #[error("the offer is too long: {0}")]
    TooLong(&'static str),
    /// A key or id in it is malformed.
    #[error("the offer is malformed: {0}")]
    Identity(#[from] IdentityError),
}

/// A pairing offer (`docs/protocol.md` §7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The daemon to expect.
    pub server_id: ServerId,
    /// Its transport key, to pin.
    pub transport_key: PublicKey,
    /// One chance to pair.
    pub token: PairingToken,
    /// The daemon's name, for people.
    pub name: String,
    /// `host:port` of its direct listeners.
    pub direct: Vec<String>,
    /// Base URLs of relays it registers with.
    pub relays: Vec<String>,
}

impl Offer {
    /// Whether all of its addresses are good on the daemon's own machine only (loopback).
    pub fn is_for_one_machine(&self) -> bool {
        let mut addresses = self.direct.iter().chain(&self.relays);
        addresses.all(|address| is_loopback(address))
    }
}

/// Whether `host:port` or a URL leads to the machine itself.
fn is_loopback(address: &str) -> bool {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = address.split(['/', '?', '#']).next().unwrap_or(address);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    // Without a port a bracket or a bare name is left.
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => host,
    };
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}v=1&s={}&k={}&t={}",
            self.server_id,
            self.transport_key.to_base64(),
            self.token
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
                "d" => push(&mut direct, host_port(value)?)?,
                "r" => push(&mut relays, relay_url(&value)?)?,
                // A later daemon may add parts that this version does without.
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
        Ok(Self {
            server_id: server.ok_or(OfferError::Missing("s"))?.parse()?,
            transport_key: PublicKey::from_base64(&key.ok_or(OfferError::Missing("k"))?)?,
            token: token.ok_or(OfferError::Missing("t"))?.parse()?,
            name: name.unwrap_or_default(),
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

fn push(list: &mut Vec<String>, value: String) -> Result<(), OfferError> {
    if list.len() == MAX_ADDRESSES {
        return Err(OfferError::TooLong("more than 16 addresses"));
    }
    list.push(value);
    Ok(())
}

/// Checks `host:port`; IPv6 hosts stand in brackets.
fn host_port(value: String) -> Result<String, OfferError> {
    let valid = value.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && bare && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if valid {
        Ok(value)
    } else {
        Err(OfferError::Malformed(format!("`{value}` is not host:port")))
    }
}

fn relay_url(value: &str) -> Result<String, OfferError> {
    // Not repeated: what a stranger or an older daemon wrote there may be a secret of theirs.
    let url: RelayUrl = value
        .parse()
        .map_err(|error: RelayUrlError| OfferError::Malformed(error.to_string()))?;
    // A relay asks daemons for tokens, never clients: it would only be spread.
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
    let bad = || OfferError::Malformed("a broken percent escape".to_owned());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
            out.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).map_err(|_| OfferError::Malformed("not UTF-8".to_owned()))
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
    fn what_is_wrong_is_said() {
        let good = offer().to_string();
        let parse = |text: &str| text.parse::<Offer>().unwrap_err().to_string();
        assert!(parse("https://example.org").contains("must begin with"));
        assert!(parse(&good.replace("v=1", "v=2")).contains("version 2"));
        assert!(parse(&good.replace("&t=", "&x=")).contains("`t` is missing"));
        assert!(parse(&format!("{good}&s=srv_x")).contains("stands twice"));
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

    #[test]
    fn a_token_is_never_printed_by_debug() {
        assert!(!format!("{:?}", offer()).contains(&offer().token.to_string()));
    }
}
