//! Text for people: one-line names, tables, colours.

use bowline_runtime::protocol::AgentStatus;
use clap::builder::styling::{AnsiColor, Style};

/// A name on one line: whoever chose it must not move the cursor.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
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

/// Rows with aligned columns. Each cell comes with its style; the last column is as long as it is.
pub(crate) fn table(colours: bool, rows: &[Vec<(String, Style)>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|(text, _)| text.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        for (column, ((text, style), width)) in row.iter().zip(&widths).enumerate() {
            out.push_str(&paint(colours, *style, text));
            if column + 1 < row.len() {
                let gap = width.saturating_sub(text.chars().count()) + 2;
                out.extend(std::iter::repeat_n(' ', gap));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_and_without_colours() {
        let cell = |text: &str| (text.to_owned(), Style::new());
        let rows = [vec![cell("a"), cell("b")], vec![cell("aé√"), cell("b")]];
        assert_eq!(table(false, &rows), "a    b\naé√  b\n");
        let red = (String::from("x"), AnsiColor::Red.on_default());
        assert_eq!(table(true, &[vec![red]]), "\u{1b}[31mx\u{1b}[0m\n");
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }
}
