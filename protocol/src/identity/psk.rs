//! Pre-shared keys: what a handshake proves besides the static keys (TR-3, `docs/protocol.md` §2).

use ring::hmac;

use super::{OfferId, PublicKey, byte_identity, sha256};
use crate::offer::PairingToken;

/// Prefixes of the hashed bytes, so that no value is valid in place of another.
const OFFER: &[u8] = b"bowline/1 offer\n";
const PAIRING: &[u8] = b"bowline/1 pairing key\n";
const DEVICE: &[u8] = b"bowline/1 device key\n";
const KEY: &[u8] = b"bowline/1 key\n";
const CODE: &[u8] = b"bowline/1 pairing code\n";

byte_identity!(
    /// A pre-shared key: 32 bytes.
    PresharedKey, "pre-shared key", 32, secret
);
byte_identity!(
    /// The secret part of a new device key: 32 random bytes of the client.
    PairingSecret, "pairing secret", 32, secret
);
byte_identity!(
    /// The random number that a daemon adds to the code of one pairing. The daemon draws it after
    /// the client has sent its own part, so neither side can choose the code.
    #[derive(Copy)]
    PairingNonce, "pairing nonce", 16, plain
);

byte_identity!(
    /// Names a device's key in its hello: a hash, which reveals nothing of the key.
    #[derive(Copy)]
    KeyId, "key id", 8, plain
);

/// HMAC-SHA256.
pub(super) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, &parts.concat());
    // A tag of SHA-256 always has 32 bytes.
    tag.as_ref().try_into().unwrap_or_default()
}

impl PresharedKey {
    /// The key of a handshake between peers that share none: 32 zero bytes. It proves nothing, so
    /// only a refusal is believed under it.
    pub const NONE: Self = Self([0; 32]);

    /// Its id.
    pub fn id(&self) -> KeyId {
        let digest = sha256(&[KEY, &self.0].concat());
        KeyId(digest.first_chunk().copied().unwrap_or_default())
    }

    /// The key of an offer, which both sides derive from its token.
    pub fn of_offer(token: &PairingToken) -> Self {
        Self(sha256(&[PAIRING, token.as_bytes()].concat()))
    }

    /// The key of a paired device: from the key of its offer and the secret that it sent, sealed,
    /// when it paired.
    pub fn of_device(offer: &Self, secret: &PairingSecret) -> Self {
        Self(mac(&offer.0, &[DEVICE, &secret.0]))
    }
}

impl OfferId {
    /// The id of the offer with this token; it reveals nothing of the token.
    pub fn of_token(token: &PairingToken) -> Self {
        Self::from_digest(&sha256(&[OFFER, token.as_bytes()].concat()))
    }
}

/// The six digits that both sides of a pairing show, so that people can compare them (TR-3).
pub fn pairing_code(
    offer: &PresharedKey,
    device: &PublicKey,
    secret: &PairingSecret,
    nonce: &PairingNonce,
) -> String {
    let tag = mac(
        &offer.0,
        &[CODE, device.as_bytes(), &secret.0, nonce.as_bytes()],
    );
    let [a, b, c, d, ..] = tag;
    format!("{:06}", u32::from_be_bytes([a, b, c, d]) % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tr_3_a_device_key_depends_on_the_token_and_on_the_secret() {
        let offer = |n| PresharedKey::of_offer(&PairingToken::from_bytes([n; 16]));
        let secret = |n| PairingSecret::from_bytes([n; 32]);
        let key = PresharedKey::of_device(&offer(1), &secret(1));
        assert_eq!(key, PresharedKey::of_device(&offer(1), &secret(1)));
        assert_ne!(key, PresharedKey::of_device(&offer(2), &secret(1)));
        assert_ne!(key, PresharedKey::of_device(&offer(1), &secret(2)));
        assert_ne!(key, offer(1));
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn tr_3_the_code_is_six_digits_and_depends_on_every_part() {
        let code = |token: u8, device: u8, secret: u8, nonce: u8| {
            pairing_code(
                &PresharedKey::of_offer(&PairingToken::from_bytes([token; 16])),
                &PublicKey::from_bytes([device; 32]),
                &PairingSecret::from_bytes([secret; 32]),
                &PairingNonce::from_bytes([nonce; 16]),
            )
        };
        let first = code(1, 1, 1, 1);
        assert!(first.len() == 6 && first.bytes().all(|b| b.is_ascii_digit()));
        for other in [
            code(2, 1, 1, 1),
            code(1, 2, 1, 1),
            code(1, 1, 2, 1),
            code(1, 1, 1, 2),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn secrets_are_in_no_debug_text() {
        let key = PresharedKey::from_bytes([0xab; 32]);
        let secret = PairingSecret::from_bytes([0xab; 32]);
        assert_eq!(
            format!("{key:?} {secret:?}"),
            "PresharedKey(…) PairingSecret(…)"
        );
    }
}
