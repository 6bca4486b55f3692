//! `bowline watch`: a live view of hosts and agents.

use std::{fmt::Write, sync::Arc, time::Duration};

use bowline_program::{short_ids, table};
use bowline_runtime::{
    HostSnapshot, Snapshot,
    protocol::{Advice, AgentSummary},
};
use clap::builder::styling::Style;
use tokio::time::sleep;

use super::{agents::is_shown, hosts::detail};
use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    find,
    terminal::{Event, Terminal},
    text,
    waiting::{Reachability, view},
};

/// Shortest interval between two repaints.
const PACE: Duration = Duration::from_millis(100);
/// Longest interval between two repaints, to update ages.
const TICK: Duration = Duration::from_secs(1);

pub(super) async fn watch(client: &Client<'_>) -> Result<Exit, Stop> {
    if client.known().is_empty() {
        // Without a host there is nothing to watch, and pairing in another process would not show
        // here. The error tells how to pair.
        find::host(client.known(), None)?;
    }
    let mut snapshots = client.snapshots();
    let all_there = |snapshot: &Arc<Snapshot>| snapshot.hosts.len() >= client.known().len();
    let ended = |_| CliError::runtime_ended();
    snapshots.wait_for(all_there).await.map_err(ended)?;
    if client.output.mode.rich {
        return live_view(client).await;
    }
    let mut shown = Vec::new();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        if client.output.mode.json {
            client.output.json(&*snapshot).await?;
        } else {
            let lines = log_lines(&snapshot);
            client.output.out(changed(&lines, &shown)).await?;
            shown = lines;
        }
        if let Some(error) = refused_by_all(client, &snapshot) {
            return Err(error.into());
        }
        snapshots.changed().await.map_err(ended)?;
    }
}

/// Repaints the view in place, sized to the terminal. `q`, Esc and Ctrl-D end it.
async fn live_view(client: &Client<'_>) -> Result<Exit, Stop> {
    let mut snapshots = client.snapshots();
    let mut terminal = Terminal::open();
    let mut shown: Option<Vec<String>> = None;
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let size = Terminal::size();
        let lines = screen_lines(&snapshot, size, client.output.mode.colours);
        if shown.as_ref() != Some(&lines) {
            let text = repaint(&lines, shown.as_deref());
            client.output.out(text).await?;
            shown = Some(lines);
        }
        if let Some(error) = refused_by_all(client, &snapshot) {
            return Err(error.into());
        }
        let next = async {
            sleep(PACE).await;
            tokio::select! {
                changed = snapshots.changed() => changed.is_ok(),
                () = sleep(TICK) => true,
            }
        };
        tokio::select! {
            goes_on = next => if !goes_on {
                return Err(CliError::runtime_ended().into());
            },
            event = terminal.event() => match event {
                Event::Leave => return Ok(Exit::Done),
                // The cursor position is unknown.
                Event::Redraw => {
                    client.output.out("\x1b[H\x1b[J").await?;
                    shown = None;
                }
            },
        }
    }
}

/// An error once every host has refused this device, which only the user can change. A failure that
/// an update of either side resolves keeps waiting (C48).
fn refused_by_all(client: &Client<'_>, snapshot: &Snapshot) -> Option<CliError> {
    let mut last = None;
    for host in client.known() {
        let live = view(snapshot, &host.server_id);
        let error = live.and_then(|live| live.last_error.as_ref());
        let may_heal = error.is_some_and(|error| error.reason.advice() != Advice::PairAgain);
        match Reachability::of(host, live) {
            Reachability::Over(_) if may_heal => return None,
            Reachability::Over(error) => last = Some(error),
            Reachability::Online | Reachability::Away(_) => return None,
        }
    }
    last
}

/// A line in pieces, each with its style.
type Pieces = Vec<(String, Style)>;

/// Each host with its shown agents, newest first.
fn parts(snapshot: &Snapshot) -> Vec<(&Arc<HostSnapshot>, Vec<&Arc<AgentSummary>>)> {
    let hosts = snapshot.hosts.iter();
    hosts
        .map(|host| {
            let agents = host.directory.agents.iter().rev();
            (host, agents.filter(|agent| is_shown(agent)).collect())
        })
        .collect()
}

/// Length of the short ids of all agents.
fn length(snapshot: &Snapshot) -> usize {
    let agents = snapshot.hosts.iter();
    let agents = agents.flat_map(|host| host.directory.agents.iter());
    short_ids::short_length(agents.map(|agent| agent.id.as_str()))
}

/// The view as log lines, without values that change constantly.
fn log_lines(snapshot: &Snapshot) -> Vec<String> {
    let length = length(snapshot);
    let mut lines = Vec::new();
    for (host, agents) in parts(snapshot) {
        lines.push(title(host, false));
        lines.extend(agents.iter().map(|agent| row(agent, length, false)));
    }
    lines
        .iter()
        .map(|line| render(line, usize::MAX, false))
        .collect()
}

/// The view as lines that fit a terminal of this many columns and rows.
fn screen_lines(
    snapshot: &Snapshot,
    (columns, rows): (usize, usize),
    colours: bool,
) -> Vec<String> {
    let length = length(snapshot);
    // The cursor stays on the last row.
    let rows = rows.saturating_sub(1).max(1);
    let parts = parts(snapshot);
    let counts: Vec<_> = parts.iter().map(|(_, agents)| agents.len()).collect();
    let shares = shares(&counts, rows.saturating_sub(parts.len()));
    let mut lines = Vec::new();
    for ((host, agents), share) in parts.iter().zip(shares) {
        lines.push(title(host, true));
        let is_all = agents.len() <= share;
        let shown = if is_all {
            share
        } else {
            share.saturating_sub(1)
        };
        let agents_shown = agents.iter().take(shown);
        lines.extend(agents_shown.map(|agent| row(agent, length, true)));
        if !is_all && share > 0 {
            let more = format!("  … and {} more agents", agents.len() - shown);
            lines.push(vec![(more, text::dim())]);
        }
    }
    if lines.len() > rows {
        let more = lines.len() - (rows - 1);
        lines.truncate(rows - 1);
        lines.push(vec![(format!("… and {more} more hosts"), text::dim())]);
    }
    lines
        .iter()
        .map(|line| render(line, columns, colours))
        .collect()
}

/// Rows per host for its agents: unused rows of one host go to the others.
fn shares(counts: &[usize], rows: usize) -> Vec<usize> {
    let mut shares = vec![0; counts.len()];
    let mut left = rows;
    loop {
        let mut hungry: Vec<_> = shares
            .iter_mut()
            .zip(counts)
            .filter(|(share, count)| **share < **count)
            .collect();
        if hungry.is_empty() || left == 0 {
            return shares;
        }
        let each = (left / hungry.len()).max(1);
        for (share, count) in &mut hungry {
            let more = each.min(**count - **share).min(left);
            **share += more;
            left -= more;
        }
    }
}

fn title(host: &HostSnapshot, is_live: bool) -> Pieces {
    let mut line = vec![
        (text::one_line(&host.name), text::bold()),
        ("  ".to_owned(), Style::new()),
        (
            text::state(host.state).to_owned(),
            text::state_style(host.state),
        ),
    ];
    let mut rest = detail(host);
    // Constantly changing values appear only in the live view.
    if is_live && let Some(rtt) = host.probes.iter().find_map(|probe| probe.rtt_ms) {
        let _ = write!(rest, " · {rtt:.1} ms");
    }
    let left_out = host.directory.left_out;
    if left_out > 0 {
        let _ = write!(
            rest,
            " · and {left_out} more agents, older ones, not listed"
        );
    }
    if !rest.is_empty() {
        line.push((format!("  {rest}"), Style::new()));
    }
    line
}

fn row(agent: &AgentSummary, length: usize, is_live: bool) -> Pieces {
    let (status, style) = text::status(agent.status);
    let attention = match &agent.attention {
        Some(attention) => format!("  ({})", text::one_line(attention)),
        None => String::new(),
    };
    let mut line = vec![
        (
            format!("  {}", short_ids::end(agent.id.as_str(), length)),
            text::dim(),
        ),
        (format!("  {status:<8}"), style),
    ];
    if is_live {
        let age = text::ago(agent.updated_at);
        line.push((format!("  {age:<11}"), Style::new()));
    }
    line.push((
        format!("  {}{attention}", text::one_line(&agent.title)),
        Style::new(),
    ));
    line
}

/// A line cut to at most this many columns.
fn render(line: &Pieces, columns: usize, colours: bool) -> String {
    let mut left = columns;
    let mut out = String::new();
    for (piece, style) in line {
        let piece = table::fit(piece, left);
        left = left.saturating_sub(table::width(&piece));
        if !piece.is_empty() {
            out.push_str(&text::paint(colours, *style, &piece));
        }
    }
    out
}

/// Repaints over the previous view. Lines are cut at the margin, so that one line takes one row
/// whatever width the terminal gives a character.
fn repaint(lines: &[String], before: Option<&[String]>) -> String {
    let mut text = String::from("\x1b[?7l");
    if let Some(before) = before.filter(|before| !before.is_empty()) {
        let _ = write!(text, "\x1b[{}A\r", before.len());
    }
    for line in lines {
        let _ = write!(text, "{line}\x1b[K\r\n");
    }
    text.push_str("\x1b[J\x1b[?7h");
    text
}

/// The lines that are new, for a log.
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
        let first = repaint(&lines(&["a", "b"]), None);
        assert_eq!(first, "\x1b[?7la\x1b[K\r\nb\x1b[K\r\n\x1b[J\x1b[?7h");
        let second = repaint(&lines(&["a"]), Some(&lines(&["a", "b"])));
        assert!(second.starts_with("\x1b[?7l\x1b[2A\ra"), "{second:?}");
    }

    #[test]
    fn a_log_gets_only_what_changed() {
        let before = lines(&["workshop  online", "  one  running"]);
        let now = lines(&["workshop  online", "  one  idle"]);
        assert_eq!(changed(&now, &before), "  one  idle\n");
    }

    #[test]
    fn rows_are_shared_and_what_one_host_does_not_need_the_others_get() {
        assert_eq!(shares(&[3, 5], 20), [3, 5]);
        assert_eq!(shares(&[2, 100, 100], 22), [2, 10, 10]);
        assert_eq!(shares(&[100, 100], 3), [2, 1]);
        assert_eq!(shares(&[100], 0), [0]);
        assert_eq!(shares(&[], 5), Vec::<usize>::new());
    }

    #[test]
    fn a_line_is_cut_to_the_width_with_and_without_colours() {
        let line = vec![
            ("ab".to_owned(), text::bold()),
            ("  cdef".to_owned(), Style::new()),
        ];
        assert_eq!(render(&line, 80, false), "ab  cdef");
        assert_eq!(render(&line, 6, false), "ab  c…");
        assert_eq!(render(&line, 1, false), "…");
        assert_eq!(render(&line, 2, true), "\u{1b}[1mab\u{1b}[0m");
    }
}
