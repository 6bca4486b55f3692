//! Whose clients are no strangers: a daemon tells its relays the devices that it knows, so that
//! others cannot take their places (TR-10).

use serde::{Deserialize, Serialize};

use crate::{
    IdentityError, RouteKey,
    identity::{byte_identity, random_bytes, sha256},
};

/// First bytes of what a digest is of.
const CONTEXT: &[u8] = b"bowline/1 known route\n";

byte_identity!(
    /// Random bytes that one list of digests is made with.
    DigestSalt, "salt", 16, plain
);

/// A digest of one route key; the chance that a stranger's is equal does not matter.
type Digest = [u8; 8];

/// Digests of the route keys of a daemon's devices. A relay recognises a route key by them, and
/// learns none that it does not see anyway; lists with other salts cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDevices {
    salt: DigestSalt,
    /// In ascending order.
    #[serde(with = "packed")]
    digests: Vec<Digest>,
}

impl KnownDevices {
    /// Most devices of one list, which fits into one message.
    pub const MOST: usize = 256;

    /// A list of these routes, of which the first [`KnownDevices::MOST`] count.
    ///
    /// # Errors
    /// When the system provides no randomness.
    pub fn of<'a>(routes: impl IntoIterator<Item = &'a RouteKey>) -> Result<Self, IdentityError> {
        Ok(Self::salted(DigestSalt(random_bytes()?), routes))
    }

    /// The same with a given salt.
    pub fn salted<'a>(salt: DigestSalt, routes: impl IntoIterator<Item = &'a RouteKey>) -> Self {
        let routes = routes.into_iter().take(Self::MOST);
        let mut digests: Vec<_> = routes.map(|route| digest(&salt, route)).collect();
        digests.sort_unstable();
        Self { salt, digests }
    }

    /// Whether the route is that of a device of the list.
    pub fn contains(&self, route: &RouteKey) -> bool {
        let digest = digest(&self.salt, route);
        self.digests.binary_search(&digest).is_ok()
    }
}

fn digest(salt: &DigestSalt, route: &RouteKey) -> Digest {
    let bytes = [CONTEXT, salt.as_bytes(), route.as_str().as_bytes()].concat();
    let hash = sha256(&bytes);
    hash.first_chunk().copied().unwrap_or_default()
}

/// The digests one after the other, in base64url.
mod packed {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Digest, KnownDevices};
    use crate::identity::base64url;

    pub(super) fn serialize<S: Serializer>(digests: &[Digest], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&base64url().encode(digests.as_flattened()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Digest>, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = base64url().decode(text.as_bytes());
        let bytes = bytes.map_err(|_| D::Error::custom("digests: not base64url"))?;
        let (digests, rest) = bytes.as_chunks();
        if !rest.is_empty() || digests.len() > KnownDevices::MOST {
            return Err(D::Error::custom("digests: not 8 bytes each, or too many"));
        }
        let mut digests = digests.to_vec();
        digests.sort_unstable();
        Ok(digests)
    }
}
