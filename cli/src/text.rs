//! Text for people: one-line names, colours, cells of tables.

use bowline_program::{ages, table::Cell};
use bowline_runtime::protocol::{AgentStatus, AgentSummary, text};
use clap::builder::styling::{AnsiColor, Style};

/// A name on one line, whatever is in it: whoever chose it must not move the cursor.
pub(crate) fn one_line(text: &str) -> String {
    text::one_line(text).into_owned()
}

/// The text in a colour, if `on`.
pub(crate) fn paint(on: bool, style: Style, text: &str) -> String {
    if on {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

/// For what matters less.
pub(crate) const fn dim() -> Style {
    Style::new().dimmed()
}

/// For what stands out.
pub(crate) const fn bold() -> Style {
    Style::new().bold()
}

/// For errors.
pub(crate) const fn alarm() -> Style {
    colour(AnsiColor::Red).bold()
}

const fn colour(colour: AnsiColor) -> Style {
    colour.on_default()
}

/// The colour of a host's state.
pub(crate) fn state_style(state: &str) -> Style {
    match state {
        "online" => colour(AnsiColor::Green),
        "error" => colour(AnsiColor::Red),
        _ => colour(AnsiColor::Yellow),
    }
}

/// An agent's status as its word and colour.
pub(crate) const fn status(status: AgentStatus) -> (&'static str, Style) {
    match status {
        AgentStatus::Starting => ("starting", colour(AnsiColor::Cyan)),
        AgentStatus::Idle => ("idle", Style::new()),
        AgentStatus::Running => ("running", colour(AnsiColor::Cyan)),
        AgentStatus::Waiting => ("waiting", colour(AnsiColor::Yellow)),
        AgentStatus::Failed => ("failed", colour(AnsiColor::Red)),
        AgentStatus::Archived => ("archived", dim()),
    }
}

/// A host's state in fewer words.
pub(crate) fn state(state: &'static str) -> &'static str {
    match state {
        "booting" | "selecting_active_connection" | "connecting_active" => "connecting",
        "degraded" => "reconnecting",
        "error" => "refused",
        "no_connections" => "no address",
        other => other,
    }
}

/// A cell of a table in a colour.
pub(crate) fn cell(text: impl Into<String>, style: Style) -> Cell {
    Cell::painted(text, style)
}

/// How the last turn of an agent ended, as far as its row tells.
pub(crate) fn last_turn(agent: &AgentSummary) -> Cell {
    match agent.attention.as_deref() {
        Some("finished") => cell("completed", colour(AnsiColor::Green)),
        Some("failed") => cell("failed", colour(AnsiColor::Red)),
        Some(other) => cell(one_line(other), colour(AnsiColor::Yellow)),
        None => cell("-", dim()),
    }
}

/// How long ago something happened, in milliseconds since 1970 by the daemon's clock.
pub(crate) fn ago(then: i64) -> String {
    ages::ago(ages::unix_millis(), u64::try_from(then).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc"), r"a\u{1b}[2Jb\nc");
    }
}
