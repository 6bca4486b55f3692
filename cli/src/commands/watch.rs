//! `bowline watch`: hosts and agents as they change.

use std::{fmt::Write, sync::Arc, time::Duration};

use bowline_runtime::{Snapshot, protocol::AgentSummary};
use tokio::time::sleep;

use super::hosts::detail;
use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    find,
    lines::SnapshotLine,
    text,
    waiting::{Standing, view},
};

/// Pause between two pictures on a terminal: nobody reads faster.
const PACE: Duration = Duration::from_millis(100);
/// Most rows of a picture: it must fit a terminal, whose height is not known here.
const ROWS: usize = 20;

pub(super) async fn watch(client: &Client<'_>) -> Result<Exit, Stop> {
    if client.known().is_empty() {
        // Says what to do: there is nothing to watch, and pairing elsewhere would not show here.
        find::host(client.known(), None)?;
    }
    let mut snapshots = client.snapshots();
    let all_there = |snapshot: &Arc<Snapshot>| snapshot.hosts.len() >= client.known().len();
    let ended = |_| CliError::failed("internal", "the runtime has ended");
    snapshots.wait_for(all_there).await.map_err(ended)?;
    let mode = client.output.mode;
    let mut shown = Vec::new();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        if mode.json {
            client.output.json(&SnapshotLine::from(&*snapshot)).await?;
        } else {
            let lines = picture(&snapshot, mode.colours, mode.rich);
            let text = if mode.rich {
                repaint(&lines, &shown)
            } else {
                changed(&lines, &shown)
            };
            shown = lines;
            client.output.out(text).await?;
        }
        if let Some(error) = hopeless(client, &snapshot) {
            return Err(error.into());
        }
        if mode.rich {
            sleep(PACE).await;
        }
        snapshots.changed().await.map_err(ended)?;
    }
}

/// An error once every host has refused: nothing will ever change again.
fn hopeless(client: &Client<'_>, snapshot: &Snapshot) -> Option<CliError> {
    let mut last = None;
    for host in client.known() {
        match Standing::of(host, view(snapshot, &host.server_id)) {
            Standing::Over(error) => last = Some(error),
            Standing::Online | Standing::Away(_) => return None,
        }
    }
    last
}

/// What there is, as lines.
fn picture(snapshot: &Snapshot, colours: bool, rich: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for host in &snapshot.hosts {
        let mut line = text::paint(colours, text::bold(), &text::one_line(&host.name));
        let state = text::state(host.state);
        let _ = write!(
            line,
            "  {}",
            text::paint(colours, text::state_style(host.state), state)
        );
        let detail = detail(host);
        if !detail.is_empty() {
            let _ = write!(line, "  {detail}");
        }
        // A figure that changes all the time is for the living picture only.
        if rich && let Some(rtt) = host.probes.iter().find_map(|probe| probe.rtt_ms) {
            let _ = write!(line, " · {rtt:.1} ms");
        }
        lines.push(line);
        // The newest ones matter most.
        lines.extend(
            host.directory
                .agents
                .iter()
                .rev()
                .map(|agent| row(agent, colours)),
        );
    }
    if rich && lines.len() > ROWS {
        let more = lines.len() - (ROWS - 1);
        lines.truncate(ROWS - 1);
        lines.push(text::paint(
            colours,
            text::dim(),
            &format!("  … and {more} more"),
        ));
    }
    lines
}

fn row(agent: &AgentSummary, colours: bool) -> String {
    let (status, style) = text::status(agent.status);
    let attention = match &agent.attention {
        Some(attention) => format!("  ({})", text::one_line(attention)),
        None => String::new(),
    };
    format!(
        "  {}  {}  {}{attention}",
        text::paint(colours, text::dim(), agent.id.as_str()),
        text::paint(colours, style, &format!("{status:<8}")),
        text::one_line(&agent.title),
    )
}

/// Paints the picture over the one before. Lines are cut at the margin, so that one line is one row.
fn repaint(lines: &[String], before: &[String]) -> String {
    let mut text = String::from("\x1b[?7l");
    if !before.is_empty() {
        let _ = write!(text, "\x1b[{}A\r", before.len());
    }
    for line in lines {
        let _ = writeln!(text, "{line}\x1b[K");
    }
    text.push_str("\x1b[J\x1b[?7h");
    text
}

/// The lines that were not there before: what a log wants.
fn changed(lines: &[String], before: &[String]) -> String {
    let new = lines.iter().filter(|line| !before.contains(line));
    new.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_picture_covers_the_one_before() {
        let first = repaint(&lines(&["a", "b"]), &[]);
        assert_eq!(first, "\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        let second = repaint(&lines(&["a"]), &lines(&["a", "b"]));
        assert!(second.starts_with("\x1b[?7l\x1b[2A\ra"), "{second:?}");
    }

    #[test]
    fn a_log_gets_only_what_changed() {
        let before = lines(&["workshop  online", "  one  running"]);
        let now = lines(&["workshop  online", "  one  idle"]);
        assert_eq!(changed(&now, &before), "  one  idle\n");
    }
}
