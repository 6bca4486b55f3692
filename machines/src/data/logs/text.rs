//! Text that grows at its end: appending costs about what is appended, and copies share the rest.

use std::{fmt, iter, sync::Arc};

/// Text in parts, each at least twice as long as the next, so that there are few of them: at most
/// one for each doubling of its length. A byte is copied as often, at most.
#[derive(Clone, Default)]
pub struct GrownText {
    parts: Vec<Arc<str>>,
    bytes: usize,
}

impl GrownText {
    /// Its length in bytes.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no byte.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a text.
    pub fn push_str(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.bytes = self.bytes.saturating_add(text.len());
        let (mut kept, mut bytes) = (self.parts.len(), text.len());
        while let Some(last) = kept.checked_sub(1).and_then(|at| self.parts.get(at))
            && last.len() < bytes.saturating_mul(2)
        {
            bytes = bytes.saturating_add(last.len());
            kept = kept.saturating_sub(1);
        }
        let mut whole = String::with_capacity(bytes);
        whole.extend(self.parts.drain(kept..).map(|part| part.to_string()));
        whole.push_str(text);
        self.parts.push(whole.into());
    }

    /// What it has after `before`, if it begins with that. Parts that both share are not compared.
    pub fn after(&self, before: &Self) -> Option<String> {
        let both = iter::zip(&self.parts, &before.parts);
        let shared = both.take_while(|(new, old)| Arc::ptr_eq(new, old)).count();
        let [new, old] = [self, before].map(|text| {
            let rest = text.parts.get(shared..).unwrap_or_default();
            rest.concat()
        });
        new.strip_prefix(old.as_str()).map(str::to_owned)
    }
}

impl From<&str> for GrownText {
    fn from(text: &str) -> Self {
        let mut grown = Self::default();
        grown.push_str(text);
        grown
    }
}

impl fmt::Display for GrownText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| f.write_str(part))
    }
}

impl fmt::Debug for GrownText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// By content: how it came about does not matter.
impl PartialEq for GrownText {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.after(other).is_some()
    }
}

impl Eq for GrownText {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ld_9_a_growth_of_a_long_text_copies_little_of_it() {
        let (mut text, mut copied) = (GrownText::default(), 0);
        for n in 0..64 << 10 {
            let before = text.clone();
            text.push_str("four");
            assert_eq!(text.len(), 4 * (n + 1));
            let shared = |part: &&Arc<str>| before.parts.iter().any(|old| Arc::ptr_eq(old, part));
            let new = text.parts.iter().filter(|part| !shared(part));
            copied += new.map(|part| part.len()).sum::<usize>();
            assert!(text.parts.len() <= 18, "{} parts", text.parts.len());
        }
        // 256 KiB, each byte about as often as the length was doubled.
        assert!(copied <= 20 * text.len(), "{copied} bytes");
    }

    #[test]
    fn ld_9_a_text_is_what_was_appended_whatever_its_parts() {
        let (mut text, mut whole) = (GrownText::default(), String::new());
        let mut before = vec![(text.clone(), whole.clone())];
        for n in 0..300_usize {
            let more = "é\"x".repeat(n * 7 % 5);
            text.push_str(&more);
            whole.push_str(&more);
            before.push((text.clone(), whole.clone()));
        }
        assert_eq!(text.to_string(), whole);
        for (old, was) in &before {
            let expected = whole.strip_prefix(was.as_str()).map(str::to_owned);
            assert_eq!(text.after(old), expected);
            assert_eq!(*old, GrownText::from(was.as_str()));
            assert_eq!(old.after(&text).is_some(), old.len() == text.len());
        }
        assert_eq!(text.after(&GrownText::from("other")), None);
    }
}
