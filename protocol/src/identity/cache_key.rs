//! The key under which a client encrypts what it keeps on its disk of one daemon's data (LD-5).

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{IdentityError, base32, byte_identity, psk::mac};

/// Bytes of a nonce, which come before what is encrypted.
const NONCE: usize = 12;

byte_identity!(
    /// The key of the files that one install keeps of one daemon's data. Derived from the secret of
    /// the install, so that the files say nothing where that secret is elsewhere, in a key store.
    CacheKey, "cache key", 32, secret
);

impl CacheKey {
    /// A name for the file of something, which does not say of what: lower-case letters and digits.
    pub fn file_name(&self, of: &str) -> String {
        let name = mac(&self.0, &[b"file\n", of.as_bytes()]);
        base32(name.get(..16).unwrap_or_default())
    }

    fn aead(&self) -> Result<LessSafeKey, IdentityError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.0);
        let key = key.map_err(|_| IdentityError::new("cache key", "not usable"))?;
        Ok(LessSafeKey::new(key))
    }

    /// Encrypts a file's content, ChaCha20-Poly1305 under a nonce that is used once: random ones
    /// suffice for 2³² files. `name` is authenticated with it, so that no file passes for another.
    ///
    /// # Errors
    /// [`IdentityError`] for more bytes than the algorithm allows, never in practice.
    pub fn seal(
        &self,
        nonce: [u8; NONCE],
        name: &str,
        mut content: Vec<u8>,
    ) -> Result<Vec<u8>, IdentityError> {
        let aad = Aad::from(name.as_bytes());
        let aead = self.aead()?;
        let tag = aead
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut content)
            .map_err(|_| IdentityError::new("cached content", "too large"))?;
        Ok([&nonce[..], &content, tag.as_ref()].concat())
    }

    /// Decrypts a file's content in place.
    ///
    /// # Errors
    /// [`IdentityError`] for anything that [`CacheKey::seal`] did not make with this key and name.
    pub fn open<'a>(&self, name: &str, file: &'a mut [u8]) -> Result<&'a [u8], IdentityError> {
        let damaged = || IdentityError::new("cached content", "damaged, or of another install");
        let (nonce, sealed) = file.split_first_chunk_mut::<NONCE>().ok_or_else(damaged)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let content = self
            .aead()?
            .open_in_place(nonce, Aad::from(name.as_bytes()), sealed)
            .map_err(|_| damaged())?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ld_5_only_the_same_install_reads_what_it_kept_and_only_whole() {
        let (key, other) = (CacheKey::from_bytes([1; 32]), CacheKey::from_bytes([2; 32]));
        let sealed = key.seal([9; 12], "one", b"rows".to_vec()).unwrap();
        assert!(!sealed.windows(4).any(|bytes| bytes == b"rows"));
        assert_eq!(key.open("one", &mut sealed.clone()).unwrap(), b"rows");
        key.open("other", &mut sealed.clone()).unwrap_err();
        other.open("one", &mut sealed.clone()).unwrap_err();
        for length in 0..sealed.len() {
            key.open("one", &mut sealed[..length].to_vec()).unwrap_err();
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            key.open("one", &mut changed).unwrap_err();
        }
    }
}
