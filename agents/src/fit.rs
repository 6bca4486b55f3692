//! Shortens agents and items to fit into one message, and marks them as shortened.
//!
//! With the default limits everything fits. `limits.max_message_bytes` may be smaller than a prompt
//! or a path, and may have been larger when they were stored. A shortened row is better than a list
//! or timeline that cannot be read.

use std::borrow::Cow;

use bowline_protocol::{AgentSummary, TimelineItem};

/// Most bytes of JSON of the mark.
const MARK: usize = 160;

/// The item, with its text shortened if its JSON exceeds `most` bytes.
pub(super) fn item(item: &TimelineItem, most: usize) -> Cow<'_, TimelineItem> {
    let text = json_len(&item.text);
    if text.saturating_add(300) <= most || json_bytes(item) <= most {
        return Cow::Borrowed(item);
    }
    let around = json_bytes(item).saturating_sub(text);
    let mut item = item.clone();
    item.text = shortened(&item.text, most.saturating_sub(around));
    Cow::Owned(item)
}

/// The agent, with its folder and then its title shortened if its JSON exceeds `most` bytes.
pub(super) fn agent(agent: &AgentSummary, most: usize) -> Cow<'_, AgentSummary> {
    let bytes = json_bytes(agent);
    if bytes <= most {
        return Cow::Borrowed(agent);
    }
    let mut agent = agent.clone();
    let around = bytes.saturating_sub(json_len(&agent.cwd));
    agent.cwd = shortened(&agent.cwd, most.saturating_sub(around));
    let bytes = json_bytes(&agent);
    if bytes > most {
        let around = bytes.saturating_sub(json_len(&agent.title));
        agent.title = shortened(&agent.title, most.saturating_sub(around));
    }
    Cow::Owned(agent)
}

/// The beginning of a text, as long as leaves room for the mark.
fn shortened(text: &str, most: usize) -> String {
    let kept = prefix(text, most.saturating_sub(MARK));
    let left = text.len().saturating_sub(kept.len());
    format!("{kept}… [{left} bytes more, over what limits.max_message_bytes lets through]")
}

/// The longest beginning of a text with at most `most` bytes in JSON; at least one character of a
/// non-empty text.
pub(super) fn prefix(text: &str, most: usize) -> &str {
    let mut bytes = 0_usize;
    let end = text.char_indices().find(|(at, c)| {
        bytes = bytes.saturating_add(char_len(*c));
        bytes > most && *at > 0
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// Bytes of a text in JSON, without its quotes.
pub(super) fn json_len(text: &str) -> usize {
    text.chars().map(char_len).sum()
}

/// Most bytes of a character in JSON.
const fn char_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        // Escaped in lines of JSON, so that readers do not take them for line ends.
        '\0'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => 6,
        c => c.len_utf8(),
    }
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use bowline_protocol::{AgentId, AgentStatus, ItemId, ItemKind};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn case_c49_an_item_that_fits_no_message_is_shortened_and_says_so() {
        let mut whole = TimelineItem::new(ItemId::from_uuid(Uuid::nil()), 7, ItemKind::Output, 1);
        for text in [
            "x".repeat(70_000),
            "\u{1b}".repeat(20_000),
            "é\"".repeat(30_000),
        ] {
            whole.text = text;
            let shown = item(&whole, 65_000);
            assert!(json_bytes(&*shown) <= 65_000);
            assert!(json_bytes(&*shown) > 64_000, "as much as fits is shown");
            assert!(shown.text.contains("bytes more"), "{}", shown.text.len());
            assert!(matches!(item(&whole, 1 << 20), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn case_c49_an_agent_that_fits_no_message_is_shown_with_less_of_its_folder() {
        let summary = AgentSummary {
            id: AgentId::from_uuid(Uuid::nil()),
            title: "a title".into(),
            provider: "shell".into(),
            cwd: format!("/{}", "d".repeat(4_000)),
            status: AgentStatus::Idle,
            created_at: 0,
            updated_at: 0,
            attention: None,
            intent_id: None,
        };
        let shown = agent(&summary, 3_584);
        assert!(json_bytes(&*shown) <= 3_584);
        assert!(shown.cwd.starts_with("/ddd") && shown.cwd.contains("bytes more"));
        assert_eq!(shown.title, "a title");
        assert!(matches!(agent(&summary, 65_024), Cow::Borrowed(_)));
    }

    #[test]
    fn lengths_in_json_are_not_underestimated() {
        for text in [
            "plain",
            "\"\\\n\t\u{8}\u{c}\r",
            "\u{0}\u{1f}\u{7f}",
            "é€😀\u{2028}",
        ] {
            let json = serde_json::to_string(text).unwrap();
            assert!(json_len(text) >= json.len() - 2, "{json}");
        }
        assert_eq!(prefix("ééé", 5), "éé");
        assert_eq!(prefix("é", 0), "é", "pieces are never empty");
    }
}
