//! Values as JSON text that takes exactly its own memory.

use std::io::{Error, ErrorKind, Write};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// Texts up to this many bytes are first written on the stack. Parameters and results of most
/// requests are shorter.
const SMALL: usize = 256;

/// The JSON of a value.
///
/// # Errors
/// The value's type does not serialise.
pub fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, serde_json::Error> {
    match small(value)? {
        Some(text) => RawValue::from_string(text.into()),
        None => to_raw_value(value),
    }
}

/// The JSON of a value as plain text: a [`RawValue`] would be parsed once more to know that it is
/// JSON.
///
/// # Errors
/// As [`raw`].
pub fn text<T: Serialize + ?Sized>(value: &T) -> Result<Box<str>, serde_json::Error> {
    match small(value)? {
        Some(text) => Ok(text),
        None => Ok(serde_json::to_string(value)?.into()),
    }
}

/// The JSON of a small value; `None` for a large one.
///
/// `serde_json` writes into 128 bytes of the heap and then returns those that are left over, which
/// is most of the time that a small value takes. A small value is written twice here, never more.
fn small<T: Serialize + ?Sized>(value: &T) -> Result<Option<Box<str>>, serde_json::Error> {
    let mut small = Small {
        bytes: [0; SMALL],
        length: 0,
    };
    match serde_json::to_writer(&mut small, value) {
        Ok(()) => Ok(small.text().map(Into::into)),
        Err(error) if error.is_io() => Ok(None),
        Err(error) => Err(error),
    }
}

struct Small {
    bytes: [u8; SMALL],
    length: usize,
}

impl Small {
    /// What was written; JSON is always UTF-8.
    fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..self.length)?).ok()
    }
}

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let end = self.length + bytes.len();
        let place = self.bytes.get_mut(self.length..end);
        place.ok_or(ErrorKind::StorageFull)?.copy_from_slice(bytes);
        self.length = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_text_of_any_length_is_what_serde_json_writes() {
        for length in [0, 1, SMALL - 3, SMALL - 2, SMALL - 1, SMALL, 10_000] {
            let value = "ü".repeat(length / 2) + &"x".repeat(length % 2);
            let expected = serde_json::to_string(&value).unwrap();
            assert_eq!(raw(&value).unwrap().get(), expected);
            assert_eq!(*text(&value).unwrap(), expected);
        }
        assert_eq!(
            raw(&BTreeMap::from([("a", 1)])).unwrap().get(),
            r#"{"a":1}"#
        );
    }

    #[test]
    fn a_type_that_does_not_serialise_is_an_error() {
        let value = BTreeMap::from([((1, 2), 3)]);
        assert!(raw(&value).is_err() && text(&value).is_err());
    }
}
