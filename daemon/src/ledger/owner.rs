//! Whom stored data and waiting jobs are charged to (TR-12).

use std::{fmt, num::ParseIntError, str::FromStr};

use bowline_protocol::{
    DeviceId, PublicKey, RpcReason,
    error::{Quota, RpcError},
};

/// Whom what is stored is charged to: a device, or one of the few below. Its text
/// ([`fmt::Display`]) is 16 hexadecimal digits, for keys of tables.
///
/// A device is named by the beginning of its key. Two devices with one beginning would share an
/// account, which no one can bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub(crate) i64);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Owner {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(|number| Self(number.cast_signed()))
    }
}

impl Owner {
    /// The daemon's own work, and what was stored before accounts were kept. Has no quota.
    pub(crate) const DAEMON: Self = Self(0);
    /// All connections of the local socket.
    pub(crate) const LOCAL: Self = Self(1);
    /// Hellos: their devices are not yet known.
    pub(crate) const HELLOS: Self = Self(2);

    /// The account of a device.
    pub(crate) const fn of(device: &PublicKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *device.as_bytes();
        Self(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Whether it is bounded by quotas.
    pub const fn has_quota(self) -> bool {
        !matches!(self, Self::DAEMON | Self::HELLOS)
    }
}

/// An account with what refusals say of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Account {
    pub(crate) owner: Owner,
    /// For people.
    pub(crate) name: Box<str>,
    pub(crate) device: Option<DeviceId>,
}

impl Account {
    /// The account of a device.
    pub(crate) fn of(device: &PublicKey, name: &str) -> Self {
        Self {
            owner: Owner::of(device),
            name: name.into(),
            device: Some(DeviceId::of_public_key(device)),
        }
    }

    /// The account of the local socket.
    pub(crate) fn local() -> Self {
        Self::unnamed(Owner::LOCAL, "the local socket")
    }

    /// An account that is described instead of naming its device.
    pub(crate) fn unnamed(owner: Owner, what: &str) -> Self {
        Self {
            owner,
            name: what.into(),
            device: None,
        }
    }

    /// The refusal of a request over a quota; `what` says what it has and what helps.
    pub(crate) fn over(
        &self,
        reason: RpcReason,
        setting: &'static str,
        limit: u64,
        what: &str,
    ) -> RpcError {
        let quota = Quota {
            name: setting.to_owned(),
            limit,
            whose: self.name.clone().into(),
            device_id: self.device.clone(),
        };
        let text = format!("{} {what} (`limits.{setting}` = {limit})", self.name);
        RpcError::of_quota(reason, quota, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tr_12_a_refusal_names_device_setting_and_bound() {
        let key = PublicKey::from_bytes([7; 32]);
        let account = Account::of(&key, "Ann's phone");
        assert!(account.owner.has_quota() && !Owner::DAEMON.has_quota());
        let error = account.over(RpcReason::RateLimited, "x_per_device", 3, "has too many");
        assert_eq!(
            error.message,
            "Ann's phone has too many (`limits.x_per_device` = 3)"
        );
        let quota = error.quota().unwrap();
        assert_eq!(quota.device_id, Some(DeviceId::of_public_key(&key)));
    }
}
