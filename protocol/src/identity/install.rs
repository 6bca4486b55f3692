//! The secret of one app install, and the keys derived from it for each daemon (TR-13).

use super::{CacheKey, ClientSessionKey, DeviceKey, ServerId, byte_identity, psk::mac};

/// Labels of the derived keys, so that none is valid in place of another.
const DEVICE: &[u8] = b"bowline/1 device of\n";
const SESSION: &[u8] = b"bowline/1 session of\n";
const CACHE: &[u8] = b"bowline/1 cache of\n";

byte_identity!(
    /// The secret of one app install or profile: 32 random bytes. Every daemon gets keys of its
    /// own, so daemons that compare notes cannot tell that they know the same install.
    InstallSecret, "install secret", 32, secret
);

impl InstallSecret {
    /// Identifies this install's session at a daemon (INV-1).
    pub fn client_session_key(&self, server: &ServerId) -> ClientSessionKey {
        let derived = self.derive(SESSION, server);
        ClientSessionKey::from_random(derived.first_chunk().copied().unwrap_or_default())
    }

    /// Authenticates this install at a daemon (BX-3).
    pub fn device_key(&self, server: &ServerId) -> DeviceKey {
        DeviceKey::from_private(self.derive(DEVICE, server))
    }

    /// Encrypts what this install keeps on its disk of a daemon's data (LD-5).
    pub fn cache_key(&self, server: &ServerId) -> CacheKey {
        CacheKey::from_bytes(self.derive(CACHE, server))
    }

    fn derive(&self, label: &[u8], server: &ServerId) -> [u8; 32] {
        mac(&self.0, &[label, server.as_str().as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tr_13_two_daemons_see_nothing_in_common() {
        let secret = InstallSecret::from_bytes([7; 32]);
        let [one, other] = [[1; 32], [2; 32]].map(|key| ServerId::of_public_key(&key));
        assert_ne!(
            secret.client_session_key(&one),
            secret.client_session_key(&other)
        );
        assert_ne!(
            secret.device_key(&one).public(),
            secret.device_key(&other).public()
        );
        let again = secret.to_string().parse::<InstallSecret>().unwrap();
        assert_eq!(
            again.client_session_key(&one),
            secret.client_session_key(&one)
        );
        assert!(!format!("{secret:?}").contains(&secret.to_string()));
    }
}
