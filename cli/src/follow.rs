//! Showing a timeline as it grows, until our turn ends.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_runtime::{
    HostRecord, Snapshot, TimelineError, TimelineStream, TimelineUpdate,
    protocol::{
        AgentId, AgentStatus, ItemKind, TimelineItem,
        methods::{AgentRef, Empty, name},
        model::OutputStream,
        text::{coloured, visible},
    },
};
use tokio::time::{sleep, timeout};

use crate::{
    client::{AGAIN, Client, is_passing},
    failure::{CliError, Exit, Stop},
    lines::Line,
    output::Output,
    text,
    turn::{self, Part, Turn},
    waiting::view,
};

/// Items whose text may still grow; the daemon lets only the newest grow.
const GROWING: usize = 64;
/// What an agent's row says while its turn waits because the daemon runs as many as it may.
const QUEUED: &str = "queued";
/// Longest time that giving the subscription back may take.
const RELEASE: Duration = Duration::from_millis(500);

/// Prints a timeline from where the stream begins until the turn ends.
pub(crate) async fn follow(
    client: &Client<'_>,
    host: &HostRecord,
    agent: &AgentId,
    mut stream: TimelineStream,
    mut turn: Turn,
) -> Result<Exit, Stop> {
    let mut printer = Printer::new(client.output);
    let exit = tokio::select! {
        ended = async {
            loop {
                if let Some(exit) = step(client.output, &mut stream, &mut turn, &mut printer).await? {
                    return Ok::<_, Stop>(exit);
                }
            }
        } => ended?,
        error = client.hopeless(host) => return Err(error.into()),
        error = tell_if_queued(client, host, agent) => return Err(error),
    };
    let _ = timeout(RELEASE, release(client, host, agent)).await;
    Ok(exit)
}

/// Says once that the daemon has no place for the turn yet. Returns only what keeps it from saying so.
async fn tell_if_queued(client: &Client<'_>, host: &HostRecord, agent: &AgentId) -> Stop {
    let is_queued = |snapshot: &Arc<Snapshot>| {
        let agents = view(snapshot, &host.server_id).map(|live| &live.directory.agents);
        let mut agents = agents.into_iter().flat_map(|agents| agents.iter());
        agents.any(|row| row.id == *agent && row.attention.as_deref() == Some(QUEUED))
    };
    if client.snapshots().wait_for(is_queued).await.is_ok() && !client.output.mode.json {
        let line = "the daemon runs as many turns at once as it may; the prompt waits for a place";
        if let Err(stop) = client.output.say(line).await {
            return stop;
        }
    }
    std::future::pending().await
}

/// Gives the subscription back, of which a session has a bounded number.
///
/// It belongs to the session, which every process on this profile shares: another one may be following the
/// same agent. That one has a prompt there whose turn is open, and opens its timeline only after the prompt is
/// in; so the subscription is left alone unless the agent has nothing to do.
async fn release(client: &Client<'_>, host: &HostRecord, agent: &AgentId) {
    let at_rest = |snapshot: &Arc<Snapshot>| {
        let agents = view(snapshot, &host.server_id).map(|live| &live.directory.agents);
        let mut agents = agents.into_iter().flat_map(|agents| agents.iter());
        agents.any(|row| row.id == *agent && !is_busy(row.status))
    };
    // The row follows the end of the turn at once, or tells that there are more.
    if client.snapshots().wait_for(at_rest).await.is_ok() {
        let agent_id = agent.clone();
        // If this fails, the bound is that much nearer; the session forgets it in the end.
        let _: Result<Empty, _> = client
            .runtime
            .query(
                &host.server_id,
                name::AGENTS_UNSUBSCRIBE,
                &AgentRef { agent_id },
            )
            .await;
    }
}

/// Whether an agent has a prompt to work on.
pub(crate) const fn is_busy(status: AgentStatus) -> bool {
    matches!(
        status,
        AgentStatus::Starting | AgentStatus::Running | AgentStatus::Waiting
    )
}

/// Prints one update; tells the exit code if it was the end of the turn.
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
                    let truncated = !item.text.is_empty();
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
        Ok(Some(TimelineUpdate::Cleared)) => Err(CliError::failed(
            "replaced",
            "the daemon has another timeline of that name now: its state was replaced",
        )
        .into()),
        Ok(None) => Err(CliError::failed("cancelled", "the host was forgotten").into()),
        // The path died under a page; the stream asks for it again.
        Err(TimelineError::Call(error)) if is_passing(&error) => {
            sleep(AGAIN).await;
            Ok(None)
        }
        Err(error) => Err(CliError::from(error).into()),
    }
}

/// Where the text of an item goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Standard output, as it is: what a command wrote there.
    Out,
    /// Standard error, as it is: what a command wrote there.
    Err,
    /// Standard output, harmless: an agent's words.
    Words,
    /// Standard error, harmless: what an agent is doing.
    Aside,
    Nowhere,
}

/// Prints items as lines of JSON, or as what a terminal expects of a command.
pub(crate) struct Printer<'a> {
    output: &'a Output,
    /// Where the text of each item goes that may still grow.
    growing: BTreeMap<u64, Place>,
}

impl<'a> Printer<'a> {
    pub(crate) const fn new(output: &'a Output) -> Self {
        Self {
            output,
            growing: BTreeMap::new(),
        }
    }

    /// An item of a turn that is being watched: output goes where the command meant it to, and what the user
    /// typed is not repeated.
    async fn live(&mut self, item: &TimelineItem) -> Result<(), Stop> {
        let place = match item.kind {
            ItemKind::Message => Place::Words,
            ItemKind::Output if item.stream == Some(OutputStream::Stderr) => Place::Err,
            ItemKind::Output => Place::Out,
            ItemKind::User | ItemKind::TurnEnd => Place::Nowhere,
            ItemKind::Thought
            | ItemKind::Tool
            | ItemKind::Plan
            | ItemKind::Permission
            | ItemKind::Error => Place::Aside,
        };
        self.growing.insert(item.index, place);
        while self.growing.len() > GROWING {
            self.growing.pop_first();
        }
        if self.output.mode.json {
            return self.output.json(&Line::Item { item }).await;
        }
        match (place, label(item.kind)) {
            (Place::Aside, Some(label)) => {
                let line = format!("{label}: {}", visible(&item.text));
                self.output.say(line).await
            }
            _ => self.put(place, &item.text).await,
        }
    }

    /// The text of an item grew.
    async fn grown(&mut self, line: &Line<'_>, index: u64, text: &str) -> Result<(), Stop> {
        // What was not shown does not go on: it began before our prompt.
        let Some(place) = self.growing.get(&index).copied() else {
            return Ok(());
        };
        if self.output.mode.json {
            self.output.json(line).await
        } else {
            self.put(place, text).await
        }
    }

    async fn put(&self, place: Place, text: &str) -> Result<(), Stop> {
        match place {
            _ if text.is_empty() => Ok(()),
            Place::Out => self.output.out(text).await,
            Place::Err => self.output.err(text).await,
            Place::Words => self.output.out(visible(text)).await,
            Place::Aside => self.output.err(visible(text)).await,
            Place::Nowhere => Ok(()),
        }
    }

    /// An item of the past: everything goes to stdout, the prompts and ends of turns too.
    pub(crate) async fn past(&self, item: &TimelineItem) -> Result<(), Stop> {
        if self.output.mode.json {
            return self.output.json(&Line::Item { item }).await;
        }
        let rich = self.output.mode.colours;
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
            // A command's recorded output: on a terminal with its colours, and without what else it may do to one. A file or
            // another program gets it byte for byte.
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

/// What stands before the text of items that are not the agent's own words.
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
