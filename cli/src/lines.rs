//! The JSON lines of `--json`: a contract with scripts (`docs/commands.md`).

use bowline_runtime::{
    ErrorView, HostRecord, HostSnapshot, HostState,
    machines::Path,
    protocol::{
        AgentId, AgentSummary, ItemId, ServerId, TimelineItem,
        model::{ProviderInfo, TurnStatus},
    },
    transport::Address,
};
use serde::Serialize;

use crate::failure::CliError;

/// One line of every command except `watch`.
#[derive(Serialize)]
#[serde(
    tag = "event",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub(crate) enum Line<'a> {
    /// An agent: the one that is working, or a row of `agents`.
    Agent {
        /// Its daemon; in listings.
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
        /// The item.
        item_id: &'a ItemId,
        /// Its position.
        index: u64,
        /// The appended text.
        text: &'a str,
    },
    /// The turn ended.
    Done {
        /// The result.
        status: TurnStatus,
        /// Exit status of the process, if there was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Whether output of the turn is missing; absent if not.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        truncated: bool,
    },
    /// The daemon's owner is asked whether to pair.
    Pairing {
        /// The daemon.
        server_id: &'a ServerId,
        /// Its name, as in the offer.
        name: &'a str,
        /// Six digits, shown there too.
        code: &'a str,
    },
    /// A host is paired.
    Paired {
        /// The host.
        host: KnownHost<'a>,
    },
    /// A row of `hosts`.
    Host {
        /// The host.
        host: HostRow<'a>,
    },
    /// A row of `providers`.
    Provider {
        /// Its daemon.
        server_id: &'a ServerId,
        /// The provider.
        provider: &'a ProviderInfo,
    },
    /// An agent was archived.
    Archived {
        /// Its daemon.
        server_id: &'a ServerId,
        /// The agent.
        agent_id: &'a AgentId,
        /// Its title.
        title: &'a str,
    },
    /// A host was forgotten.
    Forgotten {
        /// Stable identity of the daemon.
        server_id: &'a ServerId,
        /// Its name.
        name: &'a str,
    },
    /// The command failed.
    Error {
        /// The reason code.
        reason: &'a str,
        /// A sentence for people.
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

/// A stored host, without its key.
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

/// A stored host with its current state.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostRow<'a> {
    #[serde(flatten)]
    known: KnownHost<'a>,
    state: HostState,
    path: Option<Path>,
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a ErrorView>,
    pending: usize,
}

impl<'a> HostRow<'a> {
    /// The row of a host; `live` is `None` until its driver has published a snapshot.
    pub(crate) fn new(host: &'a HostRecord, live: Option<&'a HostSnapshot>) -> Self {
        let mut known = KnownHost::from(host);
        // The daemon's current name.
        known.name = live.map_or(known.name, |live| &live.name);
        Self {
            known,
            state: live.map_or(HostState::Booting, |live| live.state),
            path: live.and_then(|live| live.path),
            address: live.and_then(|live| live.address.as_deref()),
            last_error: live.and_then(|live| live.last_error.as_ref()),
            pending: live.map_or(0, |live| live.intents.pending),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline_runtime::{
        DirectoryState, DirectoryView, IntentsView, ProbeView, Snapshot, StorageTrouble,
        StorageView,
        protocol::{Grant, ItemKind},
    };

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

    /// The names after `after` in the contract, up to a full stop or semicolon.
    fn promised(after: &str) -> Vec<String> {
        let contract = include_str!("../../docs/commands.md").replace('\n', " ");
        let (_, list) = contract.split_once(after).unwrap();
        let (list, _) = list.split_once([';', '.']).unwrap();
        list.split(',')
            .map(|name| format!("\"{}\"", name.trim().trim_matches('`')))
            .collect()
    }

    #[test]
    fn states_are_called_as_the_contract_says() {
        assert_eq!(
            HostState::ALL.map(|state| json(&state)).as_slice(),
            promised("A host's `state` is one of ")
        );
        assert_eq!(
            DirectoryState::ALL.map(|state| json(&state)).as_slice(),
            promised("a directory's one of ")
        );
    }

    #[test]
    fn a_snapshot_is_one_object_of_exactly_the_promised_members() {
        let host = HostSnapshot {
            rev: 12,
            server_id: server_id(),
            name: "workshop".into(),
            state: HostState::Online,
            path: Some(Path::Direct),
            address: Some("127.0.0.1:1".into()),
            grant: Some(Arc::new(Grant::OWNER)),
            last_paired: None,
            generation: 3,
            last_error: None,
            storage: Some(StorageView {
                kind: StorageTrouble::Damaged,
                message: "m".into(),
            }),
            rtt_ms: Some(1.5),
            probes: vec![ProbeView {
                path: Path::Direct,
                address: "127.0.0.1:1".into(),
                rtt_ms: Some(1.5),
                error: None,
            }],
            directory: DirectoryView {
                state: DirectoryState::Ready,
                ..DirectoryView::default()
            },
            intents: IntentsView::default(),
        };
        let snapshot = Snapshot {
            rev: 12,
            hosts: vec![Arc::new(host)],
            pairings: Vec::new(),
        };
        let id = server_id();
        assert_eq!(
            json(&snapshot),
            format!(
                r#"{{"rev":12,"hosts":[{{"serverId":"{id}","name":"workshop","state":"online","path":"direct","address":"127.0.0.1:1","grant":{{"role":"owner"}},"generation":3,"storage":{{"kind":"damaged","message":"m"}},"probes":[{{"path":"direct","address":"127.0.0.1:1","rttMs":1.5}}],"directory":{{"state":"ready","agents":[]}}}}]}}"#
            )
        );
    }
}
