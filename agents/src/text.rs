//! Incremental decoding of a process's bytes to text: UTF-8, with invalid bytes replaced.

/// Holds back the beginning of an incomplete character.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    held: Vec<u8>,
}

impl Decoder {
    /// The text that is complete so far.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.held.len());
        let mut consumed = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            consumed += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            // Only at the very end can it be the beginning of a character.
            let last = consumed + invalid.len() == self.held.len();
            if last && may_continue(invalid) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            consumed += invalid.len();
        }
        self.held.drain(..consumed);
        text
    }

    /// The held-back bytes at the end, replaced.
    pub(super) fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

/// Whether these invalid bytes may be the beginning of a character.
fn may_continue(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_cut_anywhere_arrive_whole() {
        let text = "aé€😀z".repeat(5);
        for size in 1..7 {
            let mut decoder = Decoder::default();
            let mut out = String::new();
            for chunk in text.as_bytes().chunks(size) {
                out.push_str(&decoder.push(chunk));
            }
            out.push_str(&decoder.finish());
            assert_eq!(out, text, "in chunks of {size}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_replaced_and_the_rest_survives() {
        let bytes = b"ok \xff\xfe \xe2\x82 then \xc3";
        let mut decoder = Decoder::default();
        let mut out = decoder.push(bytes);
        out.push_str(&decoder.finish());
        assert_eq!(out, String::from_utf8_lossy(bytes));
    }

    #[test]
    fn nothing_is_held_back_without_need() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"abc\0"), "abc\0");
        assert_eq!(decoder.push(b"\xff"), "\u{fffd}");
        assert_eq!(decoder.push(b"\xe2\x82"), "");
        assert_eq!(decoder.push(b"\xac"), "€");
    }
}
