//! Flags that say what a device may do, and the words for it (TR-4).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_program::ages;
use bowline_protocol::{Grant, Role, text::one_line};
use clap::Args;

use super::Failure;
use crate::config::Timeout;

/// What a device may do.
#[derive(Debug, Args)]
pub(super) struct GrantFlags {
    /// What the device may do: `viewer` reads, `operator` also prompts and answers the agents that
    /// there are, `owner` does everything
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Only agents of this provider; may be given several times
    #[arg(long, value_name = "NAME")]
    provider: Vec<String>,
    /// Only agents in this folder or below it; may be given several times
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// When the pairing ends, for example 30d; `never` for no end
    #[arg(long, value_name = "DURATION", value_parser = expiry)]
    expires: Option<Timeout>,
}

/// A duration, or `never`.
fn expiry(text: &str) -> Result<Timeout, String> {
    match text {
        "never" => Ok(Timeout::of(Duration::ZERO)),
        text => text.parse(),
    }
}

impl GrantFlags {
    /// The grant that the flags make of another one. Its end is not changed.
    pub(super) fn apply(&self, mut grant: Grant) -> Result<Grant, Failure> {
        grant.role = self.role.unwrap_or(grant.role);
        if !self.provider.is_empty() {
            grant.providers = Some(self.provider.clone());
        }
        if !self.root.is_empty() {
            let roots: Result<Vec<_>, _> = self
                .root
                .iter()
                .map(PathBuf::as_path)
                .map(absolute)
                .collect();
            grant.roots = Some(roots?);
        }
        grant.check().map_err(Failure::usage)?;
        Ok(grant)
    }

    /// When the pairing ends: the outer option is whether the flag was given.
    pub(super) fn expires(&self) -> Option<Option<Duration>> {
        self.expires.map(Timeout::get)
    }

    /// Whether no flag was given.
    pub(super) const fn is_empty(&self) -> bool {
        self.role.is_none()
            && self.provider.is_empty()
            && self.root.is_empty()
            && self.expires.is_none()
    }
}

/// The folder without links, which the daemon compares with those of agents.
fn absolute(root: &Path) -> Result<String, Failure> {
    let real = std::fs::canonicalize(root).map_err(|error| {
        Failure::usage(format!(
            "--root {}: {error}",
            one_line(&root.to_string_lossy())
        ))
    })?;
    real.into_os_string().into_string().map_err(|root| {
        let root = root.to_string_lossy().into_owned();
        Failure::usage(format!("--root {}: the name is not UTF-8", one_line(&root)))
    })
}

/// A grant in words: `operator, provider claude, in /home/me/src, until …`.
pub(super) fn words(grant: &Grant) -> String {
    let mut words = vec![grant.role.to_string()];
    if let Some(providers) = &grant.providers {
        words.push(format!("with {}", one_line(&providers.join(", "))));
    }
    if let Some(roots) = &grant.roots {
        words.push(format!("in {}", one_line(&roots.join(", "))));
    }
    if let Some(at) = grant.expires_at {
        let at = u64::try_from(at).unwrap_or_default();
        words.push(format!("until {}", ages::utc(at)));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: GrantFlags,
    }

    fn flags(line: &str) -> Result<GrantFlags, clap::Error> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.flags)
    }

    #[test]
    fn tr_4_flags_change_what_they_name_and_nothing_else() {
        let before = Grant {
            providers: Some(vec!["claude".to_owned()]),
            expires_at: Some(1),
            ..Grant::OWNER
        };
        let changed = flags("--role viewer").unwrap().apply(before.clone());
        let changed = changed.unwrap_or_else(|_| panic!("refused"));
        assert_eq!(
            changed,
            Grant {
                role: Role::Viewer,
                ..before
            }
        );
        assert!(flags("").unwrap().is_empty());
        assert_eq!(flags("--expires never").unwrap().expires(), Some(None));
        let day = Duration::from_secs(86_400);
        assert_eq!(flags("--expires 1d").unwrap().expires(), Some(Some(day)));
        for wrong in ["--role admin", "--expires soon"] {
            assert!(flags(wrong).is_err(), "{wrong}");
        }
        let missing = flags("--root /no/such/folder").unwrap().apply(Grant::OWNER);
        assert!(missing.is_err());
    }

    #[test]
    fn tr_4_a_grant_is_said_in_words() {
        let grant = Grant {
            role: Role::Operator,
            providers: Some(vec!["claude".to_owned(), "pi".to_owned()]),
            roots: Some(vec!["/home/me/src".to_owned()]),
            expires_at: Some(0),
        };
        let said = words(&grant);
        assert!(
            said.starts_with("operator, with claude, pi, in /home/me/src, until 1970"),
            "{said}"
        );
        assert_eq!(words(&Grant::OWNER), "owner");
    }
}
