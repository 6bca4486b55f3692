//! Text for people: one-line names, colours, cells of tables.

use bowline_program::{ages, table::Cell};
use bowline_runtime::{
    HostRecord, HostState,
    protocol::{AgentStatus, AgentSummary, text},
};
use clap::builder::styling::{AnsiColor, Style};

/// A name on one line without control characters, which could move the cursor.
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

/// Style of secondary text.
pub(crate) const fn dim() -> Style {
    Style::new().dimmed()
}

/// Style of emphasised text.
pub(crate) const fn bold() -> Style {
    Style::new().bold()
}

/// Style of errors.
pub(crate) const fn alarm() -> Style {
    colour(AnsiColor::Red).bold()
}

const fn colour(colour: AnsiColor) -> Style {
    colour.on_default()
}

/// The colour of a host's state.
pub(crate) const fn state_style(state: HostState) -> Style {
    colour(match state {
        HostState::Online => AnsiColor::Green,
        HostState::Error => AnsiColor::Red,
        HostState::Booting
        | HostState::NoConnections
        | HostState::SelectingActiveConnection
        | HostState::ConnectingActive
        | HostState::Degraded
        | HostState::Stopped => AnsiColor::Yellow,
    })
}

/// An agent's status as word and style.
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

/// A host's state in short words.
pub(crate) const fn state(state: HostState) -> &'static str {
    match state {
        HostState::Booting | HostState::SelectingActiveConnection | HostState::ConnectingActive => {
            "connecting"
        }
        HostState::Online => "online",
        HostState::Degraded => "reconnecting",
        HostState::Error => "refused",
        HostState::NoConnections => "no address",
        HostState::Stopped => "stopped",
    }
}

/// A table cell with a name or other text of people.
pub(crate) fn plain(text: &str) -> Cell {
    cell(one_line(text), Style::new())
}

/// The addresses of a host, for people.
pub(crate) fn addresses(host: &HostRecord) -> String {
    let addresses = host.addresses.iter();
    let addresses: Vec<_> = addresses.map(|known| one_line(&known.address)).collect();
    addresses.join(", ")
}

/// A table cell with a style.
pub(crate) fn cell(text: impl Into<String>, style: Style) -> Cell {
    Cell::painted(text, style)
}

/// How the last turn of an agent ended, if its row contains that.
pub(crate) fn last_turn(agent: &AgentSummary) -> Cell {
    match agent.attention.as_deref() {
        Some("finished") => cell("completed", colour(AnsiColor::Green)),
        Some("failed") => cell("failed", colour(AnsiColor::Red)),
        Some(other) => cell(one_line(other), colour(AnsiColor::Yellow)),
        None => cell("-", dim()),
    }
}

/// Age of a time in milliseconds since 1970 by the daemon's clock.
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
