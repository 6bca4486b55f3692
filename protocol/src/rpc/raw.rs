//! Values as JSON text that takes exactly its own memory.

use std::io::{Error, ErrorKind, Write};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// Texts up to this many bytes are first written on the stack. Parameters and results of most
/// requests are shorter.
const SMALL: usize = 256;

/// The JSON of a value.
///
/// `serde_json` writes into 128 bytes of the heap and then returns those that are left over, which
/// is most of the time that a small value takes. A small value is written twice here, never more.
///
/// # Errors
/// The value's type does not serialise.
pub fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, serde_json::Error> {
    let mut small = Small {
        bytes: [0; SMALL],
        length: 0,
    };
    match serde_json::to_writer(&mut small, value) {
        Ok(()) => RawValue::from_string(small.into_text()),
        Err(error) if error.is_io() => to_raw_value(value),
        Err(error) => Err(error),
    }
}

struct Small {
    bytes: [u8; SMALL],
    length: usize,
}

impl Small {
    fn into_text(self) -> String {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
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
            let text = raw(&value).unwrap();
            assert_eq!(text.get(), serde_json::to_string(&value).unwrap());
        }
        assert_eq!(
            raw(&BTreeMap::from([("a", 1)])).unwrap().get(),
            r#"{"a":1}"#
        );
    }

    #[test]
    fn a_type_that_does_not_serialise_is_an_error() {
        assert!(raw(&BTreeMap::from([((1, 2), 3)])).is_err());
    }
}
