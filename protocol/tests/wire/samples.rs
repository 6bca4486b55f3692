//! Fixed values that the golden files are made of.

use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, ClientSessionKey, DaemonIdentity, DeviceKey, Epoch,
    IntentId, ItemId, ItemKind, Permission, PermissionId, ServerId, TimelineItem, TransportKey,
    live::{
        Json, LogAppended, LogGrown, LogItem, LogReplaced, Row, Scope, TableChanged, TopicEvent,
    },
    model::{OutputStream, PermissionOption, TurnStatus},
    offer::PairingToken,
};
use uuid::Uuid;

pub(crate) const AT: i64 = 1_767_225_600_123;

pub(crate) fn identity() -> DaemonIdentity {
    DaemonIdentity::from_seed([0x11; 32]).unwrap()
}

pub(crate) fn server() -> ServerId {
    identity().server_id().clone()
}

pub(crate) fn transport_key() -> TransportKey {
    TransportKey::from_private([0x22; 32])
}

pub(crate) fn device_key() -> DeviceKey {
    DeviceKey::from_private([0x33; 32])
}

pub(crate) fn token() -> PairingToken {
    PairingToken::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
}

pub(crate) fn session_key() -> ClientSessionKey {
    ClientSessionKey::from_random([0x44; 16])
}

const UUID: Uuid = Uuid::from_u128(0x0198_0000_1111_7222_8333_4444_5555_6666);

pub(crate) fn intent() -> IntentId {
    IntentId::from_uuid(UUID)
}

pub(crate) fn agent_id() -> AgentId {
    AgentId::from_uuid(UUID)
}

pub(crate) fn item_id() -> ItemId {
    ItemId::from_uuid(UUID)
}

pub(crate) fn permission_id() -> PermissionId {
    PermissionId::from_uuid(UUID)
}

pub(crate) fn epoch() -> Epoch {
    Epoch::from_uuid(UUID)
}

pub(crate) fn agent() -> AgentSummary {
    AgentSummary {
        id: agent_id(),
        title: "Räum auf \u{1f9f9}".into(),
        provider: "shell".into(),
        cwd: "/home/me/my \"project\"".into(),
        status: AgentStatus::Running,
        created_at: AT,
        updated_at: AT + 1,
        attention: None,
        intent_id: None,
    }
}

pub(crate) fn agent_wanting_attention() -> AgentSummary {
    AgentSummary {
        status: AgentStatus::Waiting,
        attention: Some("permission".into()),
        intent_id: Some(intent()),
        ..agent()
    }
}

pub(crate) fn user_item() -> TimelineItem {
    TimelineItem {
        text: "list the files".into(),
        intent_id: Some(intent()),
        ..TimelineItem::new(item_id(), 0, ItemKind::User, AT)
    }
}

pub(crate) fn output_item() -> TimelineItem {
    TimelineItem {
        text: "a\tb\n\u{1b}[1mc\u{0}\u{2028}".into(),
        stream: Some(OutputStream::Stderr),
        ..TimelineItem::new(item_id(), 1, ItemKind::Output, AT)
    }
}

pub(crate) fn dropped_item() -> TimelineItem {
    TimelineItem {
        dropped_bytes: 70_000,
        stream: Some(OutputStream::Stdout),
        ..TimelineItem::new(item_id(), 1, ItemKind::Output, AT)
    }
}

pub(crate) fn turn_end_item() -> TimelineItem {
    TimelineItem {
        status: Some(TurnStatus::Failed),
        exit_code: Some(-1),
        ..TimelineItem::new(item_id(), 2, ItemKind::TurnEnd, AT)
    }
}

pub(crate) fn permission() -> Permission {
    Permission {
        id: permission_id(),
        title: "Delete build/?".into(),
        options: vec![
            PermissionOption {
                id: "allow".into(),
                title: "Allow".into(),
            },
            PermissionOption {
                id: "deny".into(),
                title: "Deny".into(),
            },
        ],
    }
}

pub(crate) fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn row() -> Row {
    Row {
        key: "castle/walls".into(),
        // As the daemon wrote it: no reader rewrites numbers or spellings.
        value: json(r#"{"voxels":18446744073709551616,"size":1.10,"name":"W\u00e4lle"}"#),
        omitted_bytes: None,
        unreadable: false,
    }
}

pub(crate) fn omitted_row() -> Row {
    Row {
        key: "castle/\u{1f9f9}".into(),
        value: json("null"),
        omitted_bytes: Some(1_048_000),
        unreadable: true,
    }
}

pub(crate) fn scope() -> Scope {
    Scope::under("castle").unwrap()
}

pub(crate) fn table_changed() -> TableChanged {
    TableChanged {
        name: "voxel.layers".into(),
        scope: scope(),
        upserts: vec![row(), omitted_row()],
        removed: vec!["castle/moat".into()],
        stale: false,
        keys: None,
        intent_id: Some(intent()),
    }
}

pub(crate) fn topic_event() -> TopicEvent {
    TopicEvent {
        name: "voxel.saved".into(),
        key: "castle".into(),
        body: json(r#"{"by":"ada","revision":1e3}"#),
        intent_id: Some(intent()),
    }
}

pub(crate) fn stale_table() -> TableChanged {
    TableChanged {
        upserts: Vec::new(),
        removed: Vec::new(),
        stale: true,
        keys: Some(vec!["castle/moat".into(), "castle/walls".into()]),
        intent_id: None,
        ..table_changed()
    }
}

pub(crate) fn log_item() -> LogItem {
    LogItem {
        index: 4_095,
        value: json(r#"{"by":"ada","text":"paints the w","at":1.0e3}"#),
        omitted_bytes: None,
        unreadable: false,
    }
}

pub(crate) fn omitted_item() -> LogItem {
    LogItem {
        index: 4_096,
        value: json("null"),
        omitted_bytes: Some(262_144),
        unreadable: false,
    }
}

pub(crate) fn log_appended() -> LogAppended {
    LogAppended {
        name: "voxel.edits".into(),
        key: "castle".into(),
        items: vec![log_item()],
        first: 3_000,
        next: 4_096,
        stale: false,
        intent_id: Some(intent()),
    }
}

pub(crate) fn log_replaced() -> LogReplaced {
    LogReplaced {
        name: "voxel.edits".into(),
        key: "castle".into(),
        index: Some(7),
        value: Some(serde_json::from_str(r#"{"status":"done","took":1.50}"#).unwrap()),
        stale: false,
        intent_id: Some(intent()),
    }
}

pub(crate) fn log_grown() -> LogGrown {
    LogGrown {
        name: "voxel.edits".into(),
        key: "castle".into(),
        index: 4_095,
        field: "text".into(),
        text: "alls \"red\"\n".into(),
        stale: false,
        intent_id: Some(intent()),
    }
}
