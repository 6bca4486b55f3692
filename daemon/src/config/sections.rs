//! Settings of services in the daemon's file: each service has top-level keys of its own, with
//! types of its own.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use bowline_program::config::{Apart, FileError, Part};
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
///
/// A daemon started by code has no file, unless it reads one with [`load`](super::load), which
/// takes the sections of all services that are linked.
pub struct Section<T> {
    key: &'static str,
    formerly: Option<(&'static str, &'static [&'static str])>,
    resolve: fn(T, &Settings) -> Result<T, String>,
}

impl<T> Section<T> {
    /// The section under that key. Where the file does not have it, it is the default of `T`.
    pub const fn new(key: &'static str) -> Self {
        Self {
            key,
            formerly: None,
            resolve: |value, _| Ok(value),
        }
    }

    /// Keys of this section that were in another table of the file in earlier versions. A file may
    /// still have them there; one that has a key in both is refused.
    #[must_use]
    pub const fn formerly(mut self, table: &'static str, keys: &'static [&'static str]) -> Self {
        self.formerly = Some((table, keys));
        self
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

/// What a section may be. `config check` prints what it serialises to, so a type with a secret
/// serialises to something else there, as [`ProxyUrl`](super::ProxyUrl) does; the service gets the
/// value itself.
pub trait SectionType: Default + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Default + Serialize + DeserializeOwned + Send + Sync + 'static> SectionType for T {}

/// A section in force.
#[derive(Clone)]
struct Value {
    value: Arc<dyn Any + Send + Sync>,
    /// As in a file.
    text: String,
}

/// What the sections of services are, by key.
#[derive(Clone, Default)]
pub struct SectionValues(BTreeMap<&'static str, Value>);

impl SectionValues {
    /// The sections as text of a file: the single values, which are written before any heading, and
    /// the others.
    pub(super) fn to_texts(&self) -> (String, String) {
        let texts = self.0.values().map(|value| value.text.as_str());
        let (after, before): (Vec<_>, Vec<_>) = texts.partition(|text| text.starts_with('['));
        (before.concat(), after.concat())
    }
}

// They may contain secrets.
impl std::fmt::Debug for SectionValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Settings {
    /// A service's section: as in the file, or its default.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] if the service refuses its own default, or if the section of that
    /// key has another type.
    pub fn section<T: SectionType>(&self, section: &Section<T>) -> Result<Arc<T>, ConfigError> {
        let value = match self.sections.0.get(section.key) {
            Some(found) => Arc::clone(&found.value).downcast(),
            None => {
                let value = (section.resolve)(T::default(), self);
                Ok(Arc::new(
                    value.map_err(|problem| refused(section.key, &problem))?,
                ))
            }
        };
        value.map_err(|_| refused(section.key, "it is the section of another service"))
    }

    /// Sets a service's section, for daemons that are started without a file.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] if the service refuses it, or if it cannot be written in a file.
    pub fn set_section<T: SectionType>(
        &mut self,
        section: &Section<T>,
        value: T,
    ) -> Result<(), ConfigError> {
        let value = section.in_force(value, self);
        let value = value.map_err(|problem| refused(section.key, &problem))?;
        self.sections.0.insert(section.key, value);
        Ok(())
    }
}

fn refused(key: &str, problem: &str) -> ConfigError {
    ConfigError::Conflict(format!("`{key}`: {problem}"))
}

impl<T: SectionType> Section<T> {
    fn in_force(&self, value: T, settings: &Settings) -> Result<Value, String> {
        let value = (self.resolve)(value, settings)?;
        // With its key, and its members in the order of their type.
        let file = BTreeMap::from([(self.key, &value)]);
        let text = toml::to_string(&file).map_err(|error| error.to_string())?;
        let value = Arc::new(value);
        Ok(Value { value, text })
    }
}

/// What the file has under the keys of services, of the right types.
pub(super) type InFile = BTreeMap<&'static str, Box<dyn Any>>;

/// A section of any type.
trait AnySection: Send + Sync {
    fn key(&self) -> &'static str;
    /// Where it is in a file.
    fn apart(&self) -> Apart;
    /// What the file has under the key, if its type is right.
    fn read(&self, part: Part<'_>) -> Result<Box<dyn Any>, FileError>;
    /// What is in force.
    fn resolve(&self, written: Option<Box<dyn Any>>, settings: &Settings) -> Result<Value, String>;
}

impl<T: SectionType> AnySection for Section<T> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn apart(&self) -> Apart {
        Apart {
            key: self.key,
            formerly: self.formerly,
        }
    }

    fn read(&self, part: Part<'_>) -> Result<Box<dyn Any>, FileError> {
        Ok(Box::new(part.read::<T>()?))
    }

    fn resolve(&self, written: Option<Box<dyn Any>>, settings: &Settings) -> Result<Value, String> {
        let written = written.and_then(|written| written.downcast::<T>().ok());
        self.in_force(
            written.map_or_else(T::default, |written| *written),
            settings,
        )
    }
}

/// The sections of a program's services.
#[derive(Clone, Default)]
pub struct Sections(Vec<Arc<dyn AnySection>>);

impl Sections {
    /// Adds the section of a service.
    #[must_use]
    pub fn with<T: SectionType>(mut self, section: Section<T>) -> Self {
        self.0.push(Arc::new(section));
        self
    }

    pub(super) fn apart(&self) -> Vec<Apart> {
        self.0.iter().map(|section| section.apart()).collect()
    }

    fn keys(&self) -> Vec<&'static str> {
        self.0.iter().map(|section| section.key()).collect()
    }

    /// Checks that each key belongs to one service alone, also where earlier versions had it.
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
        let mut former = BTreeSet::new();
        let all = self.apart().into_iter().filter_map(|apart| apart.formerly);
        for (table, key) in all.flat_map(|(table, keys)| keys.iter().map(move |key| (table, *key)))
        {
            if !former.insert((table, key)) {
                return Err(ConfigError::Conflict(format!(
                    "two services of this program have had settings under `{table}.{key}`: let one of them do without"
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
        let moved = |key, most| names(key).formerly("limits", most);
        let apart = free.clone().with(moved("more", &["a", "b"]));
        assert!(apart.check().is_ok());
        let error = apart.with(moved("most", &["b"])).check().unwrap_err();
        assert!(error.to_string().contains("`limits.b`"), "{error}");
    }
}
