//! The JSON lines that `--json` prints: a contract with scripts (`docs/commands.md`).

use bowline_runtime::{
    DirectoryView, ErrorView, HostRecord, HostSnapshot, ProbeView, Snapshot,
    machines::Path,
    protocol::{
        AgentId, AgentSummary, ItemId, ServerId, TimelineItem,
        model::{ProviderInfo, TurnStatus},
    },
    transport::Address,
};
use serde::Serialize;

use crate::failure::CliError;

/// One line of every command but `watch`.
#[derive(Serialize)]
#[serde(
    tag = "event",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub(crate) enum Line<'a> {
    /// An agent: the one that works, or a row of `agents`.
    Agent {
        /// Where it is; in listings.
        #[serde(skip_serializing_if = "Option::is_none")]
        server_id: Option<&'a ServerId>,
        /// The agent.
        agent: &'a AgentSummary,
    },
    /// The next item of the timeline, with its text so far.
    Item {
        /// The item.
        item: &'a TimelineItem,
    },
    /// The text of an item grew.
    Delta {
        /// Which item.
        item_id: &'a ItemId,
        /// Its position.
        index: u64,
        /// What to append.
        text: &'a str,
    },
    /// The turn ended.
    Done {
        /// How.
        status: TurnStatus,
        /// Exit status of the process, if it was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Whether output of the turn is missing; absent if not.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        truncated: bool,
    },
    /// A host is paired.
    Paired {
        /// Which.
        host: KnownHost<'a>,
    },
    /// A row of `hosts`.
    Host {
        /// Which.
        host: HostRow<'a>,
    },
    /// A row of `providers`.
    Provider {
        /// Whose it is.
        server_id: &'a ServerId,
        /// The provider.
        provider: &'a ProviderInfo,
    },
    /// An agent is put away.
    Archived {
        /// Where it is.
        server_id: &'a ServerId,
        /// Which.
        agent_id: &'a AgentId,
        /// Its title.
        title: &'a str,
    },
    /// A host is forgotten.
    Forgotten {
        /// Stable identity of the daemon.
        server_id: &'a ServerId,
        /// Its name.
        name: &'a str,
    },
    /// The command could not do its work.
    Error {
        /// One word.
        reason: &'a str,
        /// For people.
        message: &'a str,
    },
}

impl<'a> Line<'a> {
    /// The line of an error.
    pub(crate) fn of_error(error: &'a CliError) -> Self {
        Self::Error {
            reason: &error.reason,
            message: &error.message,
        }
    }
}

/// A host as it is stored, without its key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KnownHost<'a> {
    server_id: &'a ServerId,
    name: &'a str,
    addresses: &'a [Address],
}

impl<'a> From<&'a HostRecord> for KnownHost<'a> {
    fn from(host: &'a HostRecord) -> Self {
        Self {
            server_id: &host.server_id,
            name: &host.name,
            addresses: &host.addresses,
        }
    }
}

/// A host as it is stored and as it stands.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostRow<'a> {
    #[serde(flatten)]
    known: KnownHost<'a>,
    state: &'static str,
    path: Option<Path>,
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a ErrorView>,
    pending: usize,
}

impl<'a> HostRow<'a> {
    /// The row of a host; `live` is absent until its driver has said anything.
    pub(crate) fn new(host: &'a HostRecord, live: Option<&'a HostSnapshot>) -> Self {
        let mut known = KnownHost::from(host);
        // As its daemon calls itself now.
        known.name = live.map_or(known.name, |live| &live.name);
        Self {
            known,
            state: live.map_or("booting", |live| live.state),
            path: live.and_then(|live| live.path),
            address: live.and_then(|live| live.address.as_deref()),
            last_error: live.and_then(|live| live.last_error.as_ref()),
            pending: live.map_or(0, |live| live.intents.pending),
        }
    }
}

/// One line of `watch`: a snapshot, without what is the runtime's own business.
#[derive(Serialize)]
pub(crate) struct SnapshotLine<'a> {
    rev: u64,
    hosts: Vec<HostView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HostView<'a> {
    server_id: &'a ServerId,
    name: &'a str,
    state: &'static str,
    path: Option<Path>,
    address: Option<&'a str>,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a ErrorView>,
    probes: &'a [ProbeView],
    directory: &'a DirectoryView,
}

impl<'a> From<&'a Snapshot> for SnapshotLine<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        let view = |host: &'a HostSnapshot| HostView {
            server_id: &host.server_id,
            name: &host.name,
            state: host.state,
            path: host.path,
            address: host.address.as_deref(),
            generation: host.generation,
            last_error: host.last_error.as_ref(),
            probes: &host.probes,
            directory: &host.directory,
        };
        Self {
            rev: snapshot.rev,
            hosts: snapshot.hosts.iter().map(|host| view(host)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline_runtime::{IntentsView, protocol::ItemKind};

    use super::*;

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    fn server_id() -> ServerId {
        ServerId::of_public_key(&[7; 32])
    }

    #[test]
    fn the_lines_of_a_run_are_as_promised() {
        let id: ItemId = "itm_1".parse().unwrap();
        let mut item = TimelineItem::new(id.clone(), 1, ItemKind::Message, 5);
        item.text = "hi".into();
        assert_eq!(
            json(&Line::Item { item: &item }),
            r#"{"event":"item","item":{"id":"itm_1","index":1,"kind":"message","at":5,"text":"hi"}}"#
        );
        let delta = Line::Delta {
            item_id: &id,
            index: 1,
            text: "!",
        };
        assert_eq!(
            json(&delta),
            r#"{"event":"delta","itemId":"itm_1","index":1,"text":"!"}"#
        );
        let done = |exit_code| {
            json(&Line::Done {
                status: TurnStatus::Completed,
                exit_code,
                truncated: exit_code.is_some_and(|code| code > 0),
            })
        };
        assert_eq!(
            done(Some(1)),
            r#"{"event":"done","status":"completed","exitCode":1,"truncated":true}"#
        );
        assert_eq!(
            done(Some(0)),
            r#"{"event":"done","status":"completed","exitCode":0}"#
        );
        assert_eq!(done(None), r#"{"event":"done","status":"completed"}"#);
        let error = CliError::usage("usage", "no");
        assert_eq!(
            json(&Line::of_error(&error)),
            r#"{"event":"error","reason":"usage","message":"no"}"#
        );
    }

    #[test]
    fn a_snapshot_is_one_object_of_exactly_the_promised_members() {
        let host = HostSnapshot {
            rev: 12,
            server_id: server_id(),
            name: "workshop".into(),
            state: "online",
            path: Some(Path::Direct),
            address: Some("127.0.0.1:1".into()),
            generation: 3,
            last_error: None,
            storage: None,
            rtt_ms: Some(1.5),
            probes: vec![ProbeView {
                path: Path::Direct,
                address: "127.0.0.1:1".into(),
                rtt_ms: Some(1.5),
                error: None,
            }],
            directory: DirectoryView {
                state: "ready",
                agents: Arc::default(),
                creating: Arc::default(),
                failed: Arc::default(),
                error: None,
                truncated: false,
                left_out: 0,
            },
            intents: IntentsView::default(),
        };
        let snapshot = Snapshot {
            rev: 12,
            hosts: vec![Arc::new(host)],
        };
        let id = server_id();
        assert_eq!(
            json(&SnapshotLine::from(&snapshot)),
            format!(
                r#"{{"rev":12,"hosts":[{{"serverId":"{id}","name":"workshop","state":"online","path":"direct","address":"127.0.0.1:1","generation":3,"probes":[{{"path":"direct","address":"127.0.0.1:1","rttMs":1.5}}],"directory":{{"state":"ready","agents":[]}}}}]}}"#
            )
        );
    }
}
