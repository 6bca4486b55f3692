//! Settings of a program. Command-line flags take precedence over `BOWLINE_…` variables, these over
//! the settings file, and the file over defaults.
//!
//! A program has two structs. *Written* settings ([`Layer`]) are what one source contains: each
//! field is an option. The same struct is the command line and the file, as it derives `clap::Args`
//! and `serde::Deserialize`. *Resolved* settings have a value for each field.
//! [`settings!`](crate::settings) declares both at once, and the function `resolve` of a program
//! makes the second from the first and rejects invalid values.
//!
//! # How to add a setting
//!
//! 1. Add a line to `settings!` in the program's `settings.rs` (`daemon/src/config/`,
//!    `relay/src/config/`, `cli/src/config/`): its meaning, unit and default as a comment, which is
//!    also the flag's help, the name of its value in help, its types and its default. This makes it
//!    a flag, a `BOWLINE_…` variable and a key of the file. The daemon's limits name no value and
//!    have no flags: they are keys under `[limits]` of the file only.
//! 2. If some values are invalid, reject them in `resolve`.
//! 3. Pass the value on to where it is used: `daemon/src/daemon/options.rs` for the daemon,
//!    `relay/src/parts.rs` and `relay/src/admission.rs` for the relay.
//! 4. Add a row to the program's table in `docs/commands.md`.
//! 5. A limit of the relay also has its default in `protocol/src/relay/limits.rs`, a row in
//!    `docs/protocol.md` (compared by `protocol/tests/page.rs`), and a field in the test in
//!    `relay/src/config/resolve.rs` that reads every key.

mod file;
mod folders;
mod line;
mod secrets;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;

use crate::{Deadline, Timeout};

pub use self::{
    file::{Apart, FileError, Part, parse, parse_apart, read_apart},
    folders::{config_file, state_dir},
    line::parse_line,
    secrets::{ProxyUrl, Secret, SecretError, read_secret},
};

/// Configuration errors. Each text names the place, the problem and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or parsed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Values that are valid alone contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// The state directory is not set and has no default, because the home directory is unknown.
    #[error("no home directory is known; name a state directory with --state-dir")]
    NoHome,
}

/// Settings of one source, to be merged over those of another.
pub trait Layer {
    /// The values set here, and those of `below` for the others.
    #[must_use]
    fn over(self, below: Self) -> Self;
}

impl<T> Layer for Option<T> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }
}

impl<T> Layer for Vec<T> {
    fn over(self, below: Self) -> Self {
        if self.is_empty() { below } else { self }
    }
}

/// A switch. A source can only turn it on.
impl Layer for bool {
    fn over(self, below: Self) -> Self {
        self || below
    }
}

/// Makes a type text in files, by its `FromStr` and `Display`.
#[macro_export]
macro_rules! as_text {
    ($name:ty) => {
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text: String = ::serde::Deserialize::deserialize(from)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}

/// A written setting, which sets a resolved one if its source contains it.
pub trait Sets<V> {
    /// Sets `value` to what is written, if anything is.
    fn set(self, value: &mut V);

    /// The written form of a value.
    fn of(value: &V) -> Self;
}

impl<T: Clone> Sets<T> for Option<T> {
    fn set(self, value: &mut T) {
        if let Some(written) = self {
            *value = written;
        }
    }

    fn of(value: &T) -> Self {
        Some(value.clone())
    }
}

/// A setting without a default.
impl<T: Clone> Sets<Self> for Option<T> {
    fn set(self, value: &mut Self) {
        if self.is_some() {
            *value = self;
        }
    }

    fn of(value: &Self) -> Self {
        value.clone()
    }
}

/// A list of tables in a file.
impl<T: Clone> Sets<Self> for Vec<T> {
    fn set(self, value: &mut Self) {
        if !self.is_empty() {
            *value = self;
        }
    }

    fn of(value: &Self) -> Self {
        value.clone()
    }
}

/// A switch.
impl Sets<Self> for bool {
    fn set(self, value: &mut Self) {
        *value |= self;
    }

    fn of(value: &Self) -> Self {
        *value
    }
}

impl Sets<Duration> for Option<Deadline> {
    fn set(self, value: &mut Duration) {
        self.map(Deadline::get).set(value);
    }

    fn of(value: &Duration) -> Self {
        Deadline::of(*value)
    }
}

impl Sets<Option<Duration>> for Option<Timeout> {
    fn set(self, value: &mut Option<Duration>) {
        if let Some(written) = self {
            *value = written.get();
        }
    }

    fn of(value: &Option<Duration>) -> Self {
        Some(Timeout::of(value.unwrap_or_default()))
    }
}

/// Declares settings once: the struct of resolved ones with their defaults, and the [`Layer`] of
/// written ones, which [`Sets`] it.
///
/// The first two structs contain what only one of them has. Then follows a line for each setting:
/// `name("VALUE"): written type => resolved type = default, attributes of the written field;`. With
/// a value it is the flag `--name` and the variable `BOWLINE_NAME`; after `"VALUE", list` they take
/// several values, separated by commas. If the defaults depend on something, it is the parameter of
/// the first struct and of its function `standard`; otherwise they are its `Default`.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident $(($param:ident: $param_type:ty))? {
            $($(#[$own_meta:meta])* $own:ident: $own_type:ty = $own_default:expr;)*
        }
        $(#[$written_meta:meta])* struct $written:ident {
            $(
                $(#[$only_meta:meta])*
                $only:ident $(($only_value:literal))?: $only_type:ty;
            )*
        }
        $(
            $(#[doc $($doc:tt)+])*
            $field:ident $(($value:literal $(, $list:ident)?))?: $from:ty => $to:ty = $default:expr $(, $attribute:meta)*;
        )*
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[doc $($doc)+])* $vis $field: $to,)*
            $($(#[$own_meta])* $vis $own: $own_type,)*
        }

        impl $name {
            /// The defaults.
            $vis fn standard($($param: $param_type)?) -> Self {
                Self {
                    $($field: $default,)*
                    $($own: $own_default,)*
                }
            }
        }

        $crate::settings!(@default $name $($param)?);

        $(#[$written_meta])*
        $vis struct $written {
            $(
                $(#[doc $($doc)+])*
                $(
                    #[arg(long, value_name = $value, env = $crate::variable!($field))]
                    $(#[arg(value_delimiter = $crate::settings!(@separator $list))])?
                )?
                $(#[$attribute])*
                $vis $field: $from,
            )*
            $(
                $(#[$only_meta])*
                $(#[arg(long, value_name = $only_value, env = $crate::variable!($only))])?
                $vis $only: $only_type,
            )*
        }

        impl $crate::config::Layer for $written {
            fn over(self, below: Self) -> Self {
                Self {
                    $($field: $crate::config::Layer::over(self.$field, below.$field),)*
                    $($only: $crate::config::Layer::over(self.$only, below.$only),)*
                }
            }
        }

        impl $crate::config::Sets<$name> for $written {
            fn set(self, value: &mut $name) {
                $($crate::config::Sets::set(self.$field, &mut value.$field);)*
            }

            fn of(value: &$name) -> Self {
                Self {
                    $($field: $crate::config::Sets::of(&value.$field),)*
                    $($only: Default::default(),)*
                }
            }
        }
    };
    (@default $name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                Self::standard()
            }
        }
    };
    (@default $name:ident $param:ident) => {};
    (@separator list) => {
        ','
    };
}

/// The variable of a setting: `BOWLINE_` and its name in capitals.
#[macro_export]
macro_rules! variable {
    ($name:ident) => {
        const {
            const NAME: &str = concat!("BOWLINE_", stringify!($name));
            const CAPITALS: &[u8] = &$crate::config::capitals::<{ NAME.len() }>(NAME);
            match ::std::str::from_utf8(CAPITALS) {
                Ok(name) => name,
                Err(_) => NAME,
            }
        }
    };
}

/// The first `N` bytes of an ASCII text, in capitals.
pub const fn capitals<const N: usize>(text: &str) -> [u8; N] {
    match text.as_bytes().first_chunk() {
        Some(bytes) => {
            let mut bytes: [u8; N] = *bytes;
            bytes.make_ascii_uppercase();
            bytes
        }
        None => [0; N],
    }
}

/// All the settings that one source may contain.
pub trait Source: Layer + DeserializeOwned {
    /// Removes from a lower source what a setting of this one replaces under another name, such as
    /// the file of a token where this source has the token itself.
    fn replace_in(&self, _below: &mut Self) {}

    /// This source's settings merged over those of a lower one.
    #[must_use]
    fn merged(self, mut below: Self) -> Self {
        self.replace_in(&mut below);
        self.over(below)
    }
}

/// Merges flags and variables over the named file, or over the default file if it exists.
///
/// # Errors
/// [`FileError`] with the file, line and key.
pub fn load<W: Source>(
    flags: W,
    named: Option<PathBuf>,
    default: Option<PathBuf>,
) -> Result<W, FileError> {
    load_apart(flags, named.or(default).as_deref(), &[], |_, _| Ok(()))
}

/// Merges flags and variables over a file, and gives what it has under the key of each `apart` to
/// `take`.
///
/// # Errors
/// [`FileError`] with the file, line and key; those of `take`.
pub fn load_apart<W: Source>(
    flags: W,
    file: Option<&Path>,
    apart: &[Apart],
    take: impl FnMut(&str, Part<'_>) -> Result<(), FileError>,
) -> Result<W, FileError> {
    Ok(match file {
        Some(path) => flags.merged(read_apart(path, apart, take)?),
        None => flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    settings! {
        /// Resolved settings of a test.
        #[derive(Debug, PartialEq)]
        struct Settings {}

        /// Written settings of a test.
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {}

        name: Option<String> => String = "default".to_owned();
        listen: Option<Vec<u16>> => Vec<u16> = vec![7];
        place: Option<u8> => Option<u8> = None;
        wait: Option<Timeout> => Option<Duration> = None;
        json: bool => bool = false, serde(default);
        rows: Vec<u8> => Vec<u8> = vec![0], serde(default);
    }

    impl Source for Written {}

    #[test]
    fn what_is_above_wins_field_by_field() {
        let file: Written = parse(
            "name = \"f\"\nlisten = [1]\njson = true\nrows = [1]",
            "x".as_ref(),
        )
        .unwrap();
        let flags = Written {
            name: Some("a".to_owned()),
            rows: vec![2],
            ..Written::default()
        };
        let expected = Written {
            name: Some("a".to_owned()),
            listen: Some(vec![1]),
            json: true,
            rows: vec![2],
            ..Written::default()
        };
        assert_eq!(flags.over(file), expected);
        assert_eq!(
            load(Written::default(), None, None).unwrap(),
            Written::default()
        );
        let missing = Some(PathBuf::from("bowline-no-such-file.toml"));
        assert!(load(Written::default(), missing, None).is_err());
    }

    #[test]
    fn a_setting_has_one_name_for_its_key_and_its_variable() {
        assert_eq!(variable!(sockets_per_daemon), "BOWLINE_SOCKETS_PER_DAEMON");
    }

    #[test]
    fn what_is_written_sets_the_defaults_and_reads_back() {
        let mut settings = Settings::default();
        Written::default().set(&mut settings);
        assert_eq!(settings, Settings::default());
        let text = "place = 3\nwait = \"2s\"\nrows = [5]";
        let written: Written = parse(text, "x".as_ref()).unwrap();
        written.set(&mut settings);
        assert_eq!(settings.name, "default");
        assert_eq!(settings.place, Some(3));
        assert_eq!(settings.wait, Some(Duration::from_secs(2)));
        assert_eq!(settings.rows, [5]);
        let mut again = Settings::default();
        Written::of(&settings).set(&mut again);
        assert_eq!(again, settings);
    }
}
