//! Results of the story: JSON for programs, tables for people.

use bowline_program::table::Cell;
use bowline_runtime::machines::Path;
use serde::Serialize;

use super::screen::Screen;

/// What the story came to.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Items and deltas that clients received.
    pub events_received: u64,
    /// Lines of output that never arrived.
    pub lost: usize,
    /// Lines of output that arrived more than once.
    pub repeated: usize,
    /// Whether all came in order.
    pub in_order: bool,
    /// Longest time without data in milliseconds, while the command ran and the connection was cut.
    pub longest_gap_ms: u128,
    /// Number of session resumes.
    pub resumed: u64,
    /// Time from the start of the daemon's process to its accepting connections, in milliseconds.
    pub daemon_ready_ms: u128,
    /// Time from the daemon's second start to the client's attach, in milliseconds.
    pub reattached_ms: u128,
    /// Steps of the act with two paths.
    pub steps: Vec<Step>,
    /// Failed expectations, as text for people.
    pub failures: Vec<String>,
}

/// How one step went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What was done.
    pub what: &'static str,
    /// The active path at its end.
    pub path: Path,
    /// In which generation.
    pub generation: u64,
    /// Longest time without a line, in milliseconds.
    pub gap_ms: u128,
}

impl Report {
    /// Shows the result of each step with two paths.
    pub(super) fn show_steps(&self, screen: &Screen) {
        let cells = |step: &Step| {
            vec![
                format!("  {}", step.what).into(),
                step.path.as_str().into(),
                step.generation.to_string().into(),
                millis(step.gap_ms),
            ]
        };
        let rows: Vec<_> = self.steps.iter().map(cells).collect();
        screen.table(&["  ", "path", "generation", "longest gap"], &rows);
    }

    /// Shows the totals.
    pub(super) fn show(&self, screen: &Screen) {
        let in_order = if self.in_order { "yes" } else { "no" };
        let story = match self.failures.is_empty() {
            true => "held",
            false => "DID NOT HOLD",
        };
        let rows: [(&str, Cell); 8] = [
            ("events received", self.events_received.to_string().into()),
            ("lines lost", self.lost.to_string().into()),
            ("lines repeated", self.repeated.to_string().into()),
            ("in order", in_order.into()),
            ("longest gap", millis(self.longest_gap_ms)),
            ("daemon ready", millis(self.daemon_ready_ms)),
            ("attached again after kill -9", millis(self.reattached_ms)),
            ("story", story.into()),
        ];
        let rows = rows.map(|(name, value)| vec![format!("  {name}").into(), value]);
        screen.table(&["  in all", ""], &rows);
    }
}

fn millis(millis: u128) -> Cell {
    format!("{millis} ms").into()
}
