//! Settings of services in the daemon's file: each service has top-level keys of its own, with
//! types of its own.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bowline_program::config::{FileError, Part};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, Visitor, value::Error as ValueError},
    forward_to_deserialize_any,
};

use super::{ConfigError, Settings, Written};

/// One top-level key of the daemon's settings file, with what is below it, that belongs to a
/// service: `[voxel]`, `[[provider]]`, or a single value. A constant of the service:
///
/// ```
/// use bowline_daemon::config::Section;
/// use serde::{Deserialize, Serialize};
///
/// const EXPORTS: Section<Exports> = Section::new("exports").resolved(|exports, _| match exports.most {
///     0 => Err("`most` must be at least 1".to_owned()),
///     _ => Ok(exports),
/// });
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct Exports { most: u32 }
///
/// impl Default for Exports {
///     fn default() -> Self {
///         Self { most: 16 }
///     }
/// }
/// ```
///
/// Without `deny_unknown_fields` a misspelt key below it is ignored.
pub struct Section<T> {
    key: &'static str,
    resolve: fn(T, &Settings) -> Result<T, String>,
}

impl<T> Section<T> {
    /// The section under that key. Where the file does not have it, it is the default of `T`.
    pub const fn new(key: &'static str) -> Self {
        Self {
            key,
            resolve: |value, _| Ok(value),
        }
    }

    /// Completes what is written, or refuses it with a text that says what would be right; `config
    /// check` and the start of the daemon report it with file and key. The other settings are
    /// resolved by then, those of services excepted.
    #[must_use]
    pub const fn resolved(mut self, resolve: fn(T, &Settings) -> Result<T, String>) -> Self {
        self.resolve = resolve;
        self
    }

    /// Its key.
    pub const fn key(&self) -> &'static str {
        self.key
    }
}

impl<T> std::fmt::Debug for Section<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Section({})", self.key)
    }
}

/// What the sections of services are, resolved: by key, as text of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionValues(BTreeMap<&'static str, String>);

impl SectionValues {
    /// The sections as text of a file: the single values, which are written before any heading, and
    /// the others.
    pub(super) fn to_texts(&self) -> (String, String) {
        let has_heading = |text: &&String| text.starts_with('[');
        let (after, before): (Vec<_>, Vec<_>) = self.0.values().partition(has_heading);
        let all = |texts: Vec<&String>| texts.into_iter().map(String::as_str).collect();
        (all(before), all(after))
    }
}

impl Settings {
    /// A service's section: as in the file, or its default.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] if the service refuses its own default.
    pub fn section<T>(&self, section: &Section<T>) -> Result<T, ConfigError>
    where
        T: Default + Serialize + DeserializeOwned,
    {
        let value = match self.sections.0.get(section.key) {
            Some(text) => read_back(section.key, text),
            None => (section.resolve)(T::default(), self),
        };
        value.map_err(|problem| refused(section.key, &problem))
    }

    /// Sets a service's section, for daemons that are started without a file.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] if the service refuses it, or if it cannot be written in a file.
    pub fn set_section<T>(&mut self, section: &Section<T>, value: T) -> Result<(), ConfigError>
    where
        T: Default + Serialize + DeserializeOwned,
    {
        let text = stored(section, value, self);
        let text = text.map_err(|problem| refused(section.key, &problem))?;
        self.sections.0.insert(section.key, text);
        Ok(())
    }
}

fn refused(key: &str, problem: &str) -> ConfigError {
    ConfigError::Conflict(format!("`{key}`: {problem}"))
}

/// The text of a section: with its key, and its members in the order of their type.
fn stored<T: Serialize>(
    section: &Section<T>,
    value: T,
    settings: &Settings,
) -> Result<String, String> {
    let value = (section.resolve)(value, settings)?;
    let file = BTreeMap::from([(section.key, value)]);
    toml::to_string(&file).map_err(|error| error.to_string())
}

fn read_back<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, String> {
    let file: Result<BTreeMap<String, T>, _> = toml::from_str(text);
    let value = file.map_err(|error| error.to_string())?.remove(key);
    value.ok_or_else(|| "it is not what was written".to_owned())
}

/// What the file has under the keys of services, of the right types.
pub(super) type InFile = BTreeMap<&'static str, toml::Value>;

/// A section of any type.
trait Any: Send + Sync {
    fn key(&self) -> &'static str;
    /// What the file has under the key, if its type is right.
    fn read(&self, part: Part<'_>) -> Result<toml::Value, FileError>;
    /// The text of what is in force.
    fn resolve(&self, written: Option<toml::Value>, settings: &Settings) -> Result<String, String>;
}

impl<T: Default + Serialize + DeserializeOwned + 'static> Any for Section<T> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn read(&self, part: Part<'_>) -> Result<toml::Value, FileError> {
        part.read_as::<T, toml::Value>()
    }

    fn resolve(&self, written: Option<toml::Value>, settings: &Settings) -> Result<String, String> {
        let value = match written {
            Some(written) => written.try_into().map_err(|error| error.to_string())?,
            None => T::default(),
        };
        stored(self, value, settings)
    }
}

/// The sections of a program's services.
#[derive(Clone, Default)]
pub struct Sections(Vec<Arc<dyn Any>>);

impl Sections {
    /// Adds the section of a service.
    #[must_use]
    pub fn with<T>(mut self, section: Section<T>) -> Self
    where
        T: Default + Serialize + DeserializeOwned + 'static,
    {
        self.0.push(Arc::new(section));
        self
    }

    pub(super) fn keys(&self) -> Vec<&'static str> {
        self.0.iter().map(|section| section.key()).collect()
    }

    /// Checks that each key belongs to one service alone.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] with the key.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let own = own_keys();
        for (n, key) in self.keys().into_iter().enumerate() {
            let mut earlier = self.0.iter().take(n);
            if own.contains(&key) || earlier.any(|other| other.key() == key) {
                return Err(ConfigError::Conflict(format!(
                    "a service of this program has settings under `{key}`, which is the daemon's own or another service's: rename \
                     its section"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn read(
        &self,
        key: &str,
        part: Part<'_>,
        written: &mut InFile,
    ) -> Result<(), FileError> {
        if let Some(section) = self.0.iter().find(|section| section.key() == key) {
            written.insert(section.key(), section.read(part)?);
        }
        Ok(())
    }

    /// Resolves all sections into the settings.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] with file and key.
    pub(super) fn resolve(
        &self,
        mut written: InFile,
        file: Option<&Path>,
        settings: &mut Settings,
    ) -> Result<(), ConfigError> {
        for section in &self.0 {
            let key = section.key();
            let written = written.remove(key);
            let file = file.filter(|_| written.is_some());
            let value = section.resolve(written, settings).map_err(|problem| {
                let place = file.map_or(String::new(), |file| format!("{}: ", file.display()));
                ConfigError::Conflict(format!("{place}`{key}`: {problem}"))
            })?;
            settings.sections.0.insert(key, value);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Sections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sections").field(&self.keys()).finish()
    }
}

/// The daemon's own top-level keys.
fn own_keys() -> &'static [&'static str] {
    /// Learns which fields a struct asks for, and has none.
    struct Fields<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = ValueError;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
            Err(ValueError::custom("no struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, ValueError> {
            *self.0 = fields;
            Err(ValueError::custom("the fields are known"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    let _ = Written::deserialize(Fields(&mut fields));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ld_6_a_key_belongs_to_one_service_and_not_to_the_daemon() {
        let names = |key| Section::<Vec<u8>>::new(key);
        assert!(own_keys().contains(&"limits") && own_keys().contains(&"state_dir"));
        let free = Sections::default()
            .with(names("voxel"))
            .with(names("export"));
        assert!(free.check().is_ok());
        for taken in ["limits", "listen", "voxel"] {
            let error = free.clone().with(names(taken)).check().unwrap_err();
            assert!(error.to_string().contains(&format!("`{taken}`")), "{error}");
        }
    }
}
