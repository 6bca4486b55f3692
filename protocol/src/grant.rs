//! What a paired device may do (TR-4).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::UnixMillis;

/// Names of providers, or folders, in one grant; more are refused.
pub const MAX_ENTRIES: usize = 64;
/// Largest grant in bytes of JSON, so that it fits into a welcome.
pub const MAX_BYTES: usize = 4_096;

/// The role of a device; each includes the ones before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also sends prompts and answers to agents that exist.
    Operator,
    /// Everything that a device can do.
    #[default]
    Owner,
}

impl Role {
    /// Every role, from the least.
    pub const ALL: &'static [Self] = &[Self::Viewer, Self::Operator, Self::Owner];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a role is `viewer` (reads), `operator` (also prompts and answers) or `owner` (everything)"
)]
pub struct RoleError;

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(word: &str) -> Result<Self, RoleError> {
        let mut all = Self::ALL.iter().copied();
        all.find(|role| role.as_str() == word).ok_or(RoleError)
    }
}

/// `welcome.grant`: what a device may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its role.
    pub role: Role,
    /// The only providers whose agents it may create, prompt and answer; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<String>>,
    /// The only folders, with what is below them, whose agents it may create, prompt and answer;
    /// absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Vec<String>>,
    /// When the pairing ends; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMillis>,
}

/// Why a grant is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Too many entries.
    #[error("a grant has 1 to {MAX_ENTRIES} providers and folders each, or no limit of them")]
    Entries,
    /// An entry is empty.
    #[error("a provider or folder of a grant is empty")]
    Empty,
    /// It does not fit into a welcome.
    #[error(
        "the providers and folders of a grant have at most {MAX_BYTES} bytes together; name a folder above them"
    )]
    TooLong,
}

impl Grant {
    /// Everything, without an end: the default of a pairing.
    pub const OWNER: Self = Self {
        role: Role::Owner,
        providers: None,
        roots: None,
        expires_at: None,
    };

    /// Checks the bounds of its lists.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn check(&self) -> Result<(), GrantError> {
        let lists = || [&self.providers, &self.roots].into_iter().flatten();
        if lists().any(|list| list.is_empty() || list.len() > MAX_ENTRIES) {
            return Err(GrantError::Entries);
        }
        if lists().flatten().any(String::is_empty) {
            return Err(GrantError::Empty);
        }
        // Strings and numbers always serialise.
        if serde_json::to_string(self).map_or(0, |json| json.len()) > MAX_BYTES {
            return Err(GrantError::TooLong);
        }
        Ok(())
    }

    /// Whether it includes agents of this provider.
    pub fn includes_provider(&self, provider: &str) -> bool {
        let list = self.providers.as_ref();
        list.is_none_or(|list| list.iter().any(|one| one == provider))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tr_4_roles_are_ordered_and_read_back() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Owner);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(*role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!("admin".parse::<Role>(), Err(RoleError));
    }

    #[test]
    fn tr_4_a_grant_is_bounded() {
        let with = |providers: Vec<String>| Grant {
            providers: Some(providers),
            ..Grant::OWNER
        };
        assert_eq!(with(vec!["claude".to_owned()]).check(), Ok(()));
        let refused = |list: Vec<String>| with(list).check().unwrap_err();
        let many = vec!["x".to_owned(); MAX_ENTRIES + 1];
        assert_eq!(refused(many), GrantError::Entries);
        assert_eq!(refused(Vec::new()), GrantError::Entries);
        assert_eq!(refused(vec![String::new()]), GrantError::Empty);
        assert_eq!(refused(vec!["x".repeat(MAX_BYTES)]), GrantError::TooLong);
        // Of six bytes each in JSON.
        assert_eq!(refused(vec!["\u{1}".repeat(1_000)]), GrantError::TooLong);
        assert!(!with(vec!["claude".to_owned()]).includes_provider("shell"));
        assert!(Grant::OWNER.includes_provider("shell"));
    }
}
