//! Makes untrusted text harmless for terminals, logs, names and lines of JSON.
//!
//! Prompts, titles, names, paths and error texts come from untrusted people and programs. In a
//! terminal, control characters move the cursor, fill the clipboard or hide text; in a log, a line
//! end forges a line; and some readers of lines also split at U+2028. This module has one function
//! for each case.

use std::borrow::Cow;

use serde::Serialize;

/// Whether a character affects a terminal or a line reader instead of being displayed: control
/// characters, line and paragraph separators, direction overrides and invisible characters. Joiners
/// (U+200C, U+200D) are allowed: scripts and emoji need them.
pub const fn is_harmful(c: char) -> bool {
    matches!(
        c,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// The text on one line: every harmful character, line ends and tabs included, as a visible escape
/// (`\n`, `\u{1b}`).
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_, _| false)
}

/// The text with every harmful character except line ends and tabs as a visible escape, for texts
/// of several lines.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c, next| {
        c == '\n' || c == '\t' || (c == '\r' && next == Some('\n'))
    })
}

/// The text with every harmful character except line ends, tabs and colours (`ESC [ … m`) as a
/// visible escape, for the recorded output of a command.
pub fn coloured(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return visible(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(&visible(before));
        let length = colour(from);
        let (code, behind) = from
            .split_at_checked(length.unwrap_or(1))
            .unwrap_or((from, ""));
        match length {
            Some(_) => out.push_str(code),
            None => out.push_str(&visible(code)),
        }
        rest = behind;
    }
    out.push_str(&visible(rest));
    Cow::Owned(out)
}

/// Length in bytes of the colour sequence at the start of the text.
fn colour(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\u{1b}[")?;
    let digits = codes
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b';' || *b == b':')
        .count();
    (codes.as_bytes().get(digits) == Some(&b'm')).then_some(digits + 3)
}

/// The text of a percent-encoded part of a URL; `None` if an escape is broken or the bytes are not
/// UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

fn escaped(text: &str, stays: impl Fn(char, Option<char>) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(is_harmful) else {
        return Cow::Borrowed(text);
    };
    let (clean, rest) = text.split_at_checked(first).unwrap_or((text, ""));
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(clean);
    let mut rest = rest.chars();
    while let Some(c) = rest.next() {
        if !is_harmful(c) || stays(c, rest.clone().next()) {
            out.push(c);
        } else if matches!(c, '\n' | '\r' | '\t') {
            out.extend(c.escape_default());
        } else {
            out.extend(c.escape_unicode());
        }
    }
    Cow::Owned(out)
}

/// A value as one line of JSON, without its end.
///
/// # Errors
/// When the value does not serialise.
pub fn json_line<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(value)?;
    if line_break(text.as_bytes()).is_none() {
        return Ok(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\u{85}' => line.push_str("\\u0085"),
            '\u{2028}' => line.push_str("\\u2028"),
            '\u{2029}' => line.push_str("\\u2029"),
            // White space between values; inside of strings line ends are always escaped.
            '\n' | '\r' => line.push(' '),
            c => line.push(c),
        }
    }
    Ok(line)
}

/// The pieces of a JSON text that together form one line for every reader: U+0085, U+2028 and
/// U+2029, which occur inside of strings only, become equivalent escapes. A text without them is a
/// single piece. Raw `\n` and `\r` are not replaced.
pub const fn line_pieces(json: &[u8]) -> LinePieces<'_> {
    LinePieces {
        rest: json,
        escape: None,
    }
}

/// Iterator of [`line_pieces`].
#[derive(Clone, Debug)]
pub struct LinePieces<'a> {
    rest: &'a [u8],
    escape: Option<&'static [u8]>,
}

impl<'a> Iterator for LinePieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if let Some(escape) = self.escape.take() {
            return Some(escape);
        }
        if self.rest.is_empty() {
            return None;
        }
        let Some((at, length, escape)) = separator(self.rest) else {
            return Some(std::mem::take(&mut self.rest));
        };
        let (piece, from) = self.rest.split_at_checked(at).unwrap_or((self.rest, &[]));
        self.rest = from.get(length..).unwrap_or_default();
        if piece.is_empty() {
            return Some(escape);
        }
        self.escape = Some(escape);
        Some(piece)
    }
}

/// The first character that some readers treat as a line end: its position, its length in bytes,
/// and its escape.
fn separator(text: &[u8]) -> Option<(usize, usize, &'static [u8])> {
    // All of them begin with one of two bytes that are rare in text.
    memchr::memchr2_iter(0xC2, 0xE2, text).find_map(|at| match text.get(at..)? {
        [0xC2, 0x85, ..] => Some((at, 2, b"\\u0085".as_slice())),
        [0xE2, 0x80, 0xA8, ..] => Some((at, 3, b"\\u2028".as_slice())),
        [0xE2, 0x80, 0xA9, ..] => Some((at, 3, b"\\u2029".as_slice())),
        _ => None,
    })
}

fn line_break(text: &[u8]) -> Option<usize> {
    let raw = memchr::memchr2(b'\n', b'\r', text);
    raw.or_else(|| separator(text).map(|(at, _, _)| at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_c28_terminal_controls_are_shown_as_escapes() {
        let text = "a\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}b\u{2066}\u{feff}\r\nc\td\re";
        assert_eq!(
            one_line(text),
            r"a\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}b\u{2066}\u{feff}\r\nc\td\re"
        );
        assert_eq!(
            visible(text),
            "a\\u{1b}]52;c;eA==\\u{7}\\u{9b}2J\\u{202e}b\\u{2066}\\u{feff}\r\nc\td\\re"
        );
    }

    #[test]
    fn harmless_text_is_not_copied() {
        let text = "Grüße, 世界 👩‍👩‍👧 «ok»\u{a0}—";
        assert!(matches!(one_line(text), Cow::Borrowed(same) if same == text));
        assert!(matches!(visible("a\n"), Cow::Owned(same) if same == "a\n"));
    }

    #[test]
    fn case_c28_recorded_output_keeps_its_colours_and_nothing_else() {
        assert_eq!(
            coloured("\u{1b}[31mred\u{1b}[0m\n\u{1b}[2J\u{1b}]0;t\u{7}\u{1b}[38:5:1m"),
            "\u{1b}[31mred\u{1b}[0m\n\\u{1b}[2J\\u{1b}]0;t\\u{7}\u{1b}[38:5:1m"
        );
        assert_eq!(coloured("\u{1b}["), "\\u{1b}[");
        assert_eq!(coloured("plain"), "plain");
    }

    fn line(json: &str) -> String {
        String::from_utf8(line_pieces(json.as_bytes()).collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn case_c27_no_reader_finds_a_line_end_within_a_line() {
        let json = "\"\u{2028}a\u{2029}\u{85}é–€\u{a0}\u{2028}\u{2028}\"";
        let expected = "\"\\u2028a\\u2029\\u0085é–€\u{a0}\\u2028\\u2028\"";
        assert_eq!(line(json), expected);
        assert_eq!(
            json_line(&"\u{2028}a\u{85}\u{2029}b").unwrap(),
            "\"\\u2028a\\u0085\\u2029b\""
        );
        assert_eq!(line_pieces(b"{}").count(), 1, "nothing to escape: no copy");
        let raw: Box<serde_json::value::RawValue> =
            serde_json::from_str("{\n\"a\": \"\u{2028}\"\r\n}").unwrap();
        assert_eq!(json_line(&raw).unwrap(), "{ \"a\": \"\\u2028\"  }");
    }

    proptest! {
        #[test]
        fn a_line_means_what_the_text_means(text in "[\u{80}-\u{90}\u{2020}-\u{2030}a\"\\\\\n é]{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            let escaped = line(&json);
            let breaks = ['\u{85}', '\u{2028}', '\u{2029}', '\n', '\r'];
            prop_assert!(!escaped.contains(breaks));
            prop_assert_eq!(&serde_json::from_str::<String>(&escaped).unwrap(), &text);
            prop_assert_eq!(json_line(&text).unwrap(), escaped);
            prop_assert!(!one_line(&text).contains(is_harmful));
        }
    }
}
