//! Follows a growing timeline until the user's turn ends.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_runtime::{
    HostRecord, Snapshot, TimelineStream, TimelineUpdate,
    protocol::{
        AgentId, AgentStatus, AgentSummary, ItemKind, TimelineItem,
        methods::{AgentRef, Empty, name},
        model::OutputStream,
        text::{coloured, visible},
    },
};
use tokio::time::timeout;

use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    lines::Line,
    output::Output,
    text,
    turn::{self, Part, Turn},
    waiting::view,
};

/// Items whose text may still grow; the daemon lets only the newest grow.
const GROWING: usize = 64;
/// The `attention` of an agent whose turn waits for the daemon's limit of running turns.
const QUEUED: &str = "queued";
/// Longest time for closing the subscription.
const RELEASE: Duration = Duration::from_millis(500);

/// Prints a timeline from an index, which may be older than the subscription, until the turn ends.
pub(crate) async fn follow(
    client: &Client<'_>,
    host: &HostRecord,
    agent: &AgentId,
    from: u64,
    mut turn: Turn,
) -> Result<Exit, Stop> {
    let stream = client.runtime.timeline(&host.server_id, agent).await?;
    let mut stream = stream.from_index(from);
    let mut printer = Printer::new(client.output);
    let exit = tokio::select! {
        ended = async {
            loop {
                if let Some(exit) = step(client.output, &mut stream, &mut turn, &mut printer).await? {
                    return Ok::<_, Stop>(exit);
                }
            }
        } => ended?,
        error = client.until_lost(host) => return Err(error.into()),
        error = tell_if_queued(client, host, agent) => return Err(error),
    };
    let _ = timeout(RELEASE, release(client, host, agent)).await;
    Ok(exit)
}

/// Reports once that the turn waits for a free slot of the daemon. Returns only an output error.
async fn tell_if_queued(client: &Client<'_>, host: &HostRecord, agent: &AgentId) -> Stop {
    let is_queued = |row: &AgentSummary| row.attention.as_deref() == Some(QUEUED);
    if until_row(client, host, agent, is_queued).await && !client.output.mode.json {
        let line = "the daemon runs its maximum number of turns; the prompt is queued";
        if let Err(stop) = client.output.say(line).await {
            return stop;
        }
    }
    std::future::pending().await
}

/// Closes the subscription, since a session's number of them is bounded.
///
/// The session is shared by every process on this profile, so another process may follow the same
/// agent: it has a prompt with an open turn, and opens its timeline only after sending it. The
/// subscription is therefore kept unless the agent is idle.
async fn release(client: &Client<'_>, host: &HostRecord, agent: &AgentId) {
    // The row either reflects the end of the turn at once, or shows further turns.
    if until_row(client, host, agent, |row| !is_busy(row.status)).await {
        let agent_id = agent.clone();
        let (method, params) = (name::AGENTS_UNSUBSCRIBE, AgentRef { agent_id });
        let closed = client.runtime.query(&host.server_id, method, &params).await;
        // On failure the subscription counts toward the limit until the session drops it.
        let _: Result<Empty, _> = closed;
    }
}

/// Waits until the agent's row in the directory is as expected; false if the runtime has ended.
async fn until_row(
    client: &Client<'_>,
    host: &HostRecord,
    agent: &AgentId,
    is_expected: impl Fn(&AgentSummary) -> bool,
) -> bool {
    let is_there = |snapshot: &Arc<Snapshot>| {
        let live = view(snapshot, &host.server_id).into_iter();
        let mut rows = live.flat_map(|live| live.directory.agents.iter());
        rows.any(|row| row.id == *agent && is_expected(row))
    };
    client.snapshots().wait_for(is_there).await.is_ok()
}

/// Whether an agent has a prompt to work on.
pub(crate) const fn is_busy(status: AgentStatus) -> bool {
    matches!(
        status,
        AgentStatus::Starting | AgentStatus::Running | AgentStatus::Waiting
    )
}

/// Prints one update; returns the exit code at the end of the turn.
async fn step(
    output: &Output,
    stream: &mut TimelineStream,
    turn: &mut Turn,
    printer: &mut Printer<'_>,
) -> Result<Option<Exit>, Stop> {
    match stream.next().await {
        Ok(Some(TimelineUpdate::Item(item))) => match turn.see(&item) {
            Part::Before => Ok(None),
            Part::During => printer.live(&item).await.map(|()| None),
            Part::End(status, exit_code) => {
                printer.live(&item).await?;
                if output.mode.json {
                    let truncated = !item.text.is_empty() || printer.has_missed;
                    let line = Line::Done {
                        status,
                        exit_code,
                        truncated,
                    };
                    output.json(&line).await?;
                } else {
                    if !item.text.is_empty() {
                        output.say(text::one_line(&item.text)).await?;
                    }
                    if turn::exit(status) != Exit::Done {
                        output.say(turn::describe(status, exit_code)).await?;
                    }
                }
                Ok(Some(turn::exit(status)))
            }
        },
        Ok(Some(TimelineUpdate::Delta {
            item_id,
            index,
            text,
        })) => {
            let line = Line::Delta {
                item_id: &item_id,
                index,
                text: &text,
            };
            printer.grown(&line, index, &text).await.map(|()| None)
        }
        Ok(Some(TimelineUpdate::Cleared)) => {
            let problem = "the timeline was replaced: the daemon's state is a different one";
            Err(CliError::failed("replaced", problem).into())
        }
        Ok(None) => Err(CliError::forgotten().into()),
        Err(error) => Err(error.into()),
    }
}

/// Destination of an item's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Destination {
    /// Standard output, unchanged: a command's output.
    Out,
    /// Standard error, unchanged: a command's errors.
    Err,
    /// Standard output, escaped: an agent's text.
    Words,
    /// Standard error, escaped: an agent's actions.
    Aside,
    Nowhere,
}

/// Prints items as JSON lines or as terminal output.
pub(crate) struct Printer<'a> {
    output: &'a Output,
    /// Destinations of the items that may still grow.
    growing: BTreeMap<u64, Destination>,
    /// Whether the daemon no longer had some of the output.
    has_missed: bool,
}

impl<'a> Printer<'a> {
    pub(crate) const fn new(output: &'a Output) -> Self {
        Self {
            output,
            growing: BTreeMap::new(),
            has_missed: false,
        }
    }

    /// Prints an item of the followed turn: a command's output goes to its original stream, and the
    /// user's prompt is not repeated.
    async fn live(&mut self, item: &TimelineItem) -> Result<(), Stop> {
        let destination = match item.kind {
            ItemKind::Message => Destination::Words,
            ItemKind::Output if item.stream == Some(OutputStream::Stderr) => Destination::Err,
            ItemKind::Output => Destination::Out,
            ItemKind::User | ItemKind::TurnEnd => Destination::Nowhere,
            ItemKind::Thought
            | ItemKind::Tool
            | ItemKind::Plan
            | ItemKind::Permission
            | ItemKind::Error => Destination::Aside,
        };
        self.growing.insert(item.index, destination);
        while self.growing.len() > GROWING {
            self.growing.pop_first();
        }
        self.has_missed |= item.dropped_bytes > 0;
        if self.output.mode.json {
            return self.output.json(&Line::Item { item }).await;
        }
        if item.dropped_bytes > 0 {
            return self.output.say(dropped(item)).await;
        }
        match (destination, label(item.kind)) {
            (Destination::Aside, Some(label)) => {
                let line = format!("{label}: {}", visible(&item.text));
                self.output.say(line).await
            }
            _ => self.put(destination, &item.text).await,
        }
    }

    /// The text of an item grew.
    async fn grown(&mut self, line: &Line<'_>, index: u64, text: &str) -> Result<(), Stop> {
        // Items from before the prompt are not shown, nor is their growth.
        let Some(destination) = self.growing.get(&index).copied() else {
            return Ok(());
        };
        if self.output.mode.json {
            self.output.json(line).await
        } else {
            self.put(destination, text).await
        }
    }

    async fn put(&self, destination: Destination, text: &str) -> Result<(), Stop> {
        match destination {
            _ if text.is_empty() => Ok(()),
            Destination::Out => self.output.out(text).await,
            Destination::Err => self.output.err(text).await,
            Destination::Words => self.output.out(visible(text)).await,
            Destination::Aside => self.output.err(visible(text)).await,
            Destination::Nowhere => Ok(()),
        }
    }

    /// Prints an item of the history: everything goes to stdout, including prompts and ends of
    /// turns.
    pub(crate) async fn past(&self, item: &TimelineItem) -> Result<(), Stop> {
        if self.output.mode.json {
            return self.output.json(&Line::Item { item }).await;
        }
        let rich = self.output.mode.colours;
        if item.dropped_bytes > 0 {
            let line = text::paint(rich, text::dim(), &format!("({})", dropped(item)));
            return self.output.out(format!("{line}\n")).await;
        }
        let mut text = match (item.kind, label(item.kind)) {
            (ItemKind::User, _) => {
                let prompt = format!("> {}", visible(&item.text));
                text::paint(rich, text::bold(), &prompt)
            }
            (ItemKind::TurnEnd, _) => {
                let ended = item
                    .status
                    .map(|status| turn::describe(status, item.exit_code));
                let mut ended = ended.unwrap_or_else(|| "ended".to_owned());
                if !item.text.is_empty() {
                    ended = format!("{ended}; {}", text::one_line(&item.text));
                }
                text::paint(rich, text::dim(), &format!("({ended})"))
            }
            (_, Some(label)) => format!("{label}: {}", visible(&item.text)),
            // Recorded output of a command: a terminal gets its colours but no other escape
            // sequences; a file or program gets it byte for byte.
            (ItemKind::Output, _) if self.output.mode.terminal => coloured(&item.text).into_owned(),
            (ItemKind::Output, _) => item.text.clone(),
            (_, None) => visible(&item.text).into_owned(),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        self.output.out(text).await
    }
}

/// What to show in the place of a text that the daemon no longer keeps.
fn dropped(item: &TimelineItem) -> String {
    let what = match item.kind {
        ItemKind::User => "of a prompt",
        ItemKind::Message => "of a message",
        _ => "of output",
    };
    format!("{} bytes {what} no longer kept", item.dropped_bytes)
}

/// Prefix of items that are not the agent's own text.
const fn label(kind: ItemKind) -> Option<&'static str> {
    match kind {
        ItemKind::Thought => Some("thought"),
        ItemKind::Tool => Some("tool"),
        ItemKind::Plan => Some("plan"),
        ItemKind::Permission => Some("asks"),
        ItemKind::Error => Some("error"),
        ItemKind::User | ItemKind::Message | ItemKind::Output | ItemKind::TurnEnd => None,
    }
}
