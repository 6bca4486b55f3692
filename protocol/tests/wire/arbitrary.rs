//! Strategies for every type of the protocol.

use std::net::{Ipv4Addr, Ipv6Addr};

use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, ClientSessionKey, DeviceId, Epoch, Hello, IntentId, ItemId,
    ItemKind, Offer, Permission, PermissionId, PublicKey, Purpose, Reason, Refusal, Resume,
    RpcReason, ServerId, SessionEvent, SessionState, Stamp, TimelineItem, Welcome,
    error::RpcError,
    handshake::{Accepted, ClientInfo, PairingHello, SessionWelcome, WelcomeLimits},
    identity::{OfferId, PairingSecret, PresharedKey},
    live::{LogAppended, LogGrown, LogItem, LogReplaced, Row, TableChanged, TopicEvent},
    model::{OutputStream, PermissionOption, TurnStatus},
    offer::PairingToken,
    session_event::Sequenced,
    text::is_harmful,
};
use proptest::{
    collection::{hash_set, vec},
    option,
    prelude::*,
    sample::select,
    string::string_regex,
};
use uuid::Uuid;

use crate::samples;

/// Any text, including control characters and astral planes.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![".*", vec(any::<char>(), 0..20).prop_map(String::from_iter)]
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

pub(crate) fn session_key() -> impl Strategy<Value = ClientSessionKey> {
    any::<[u8; 16]>().prop_map(ClientSessionKey::from_random)
}

pub(crate) fn server_id() -> impl Strategy<Value = ServerId> {
    any::<[u8; 32]>().prop_map(|key| ServerId::of_public_key(&key))
}

pub(crate) fn public_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey::from_bytes)
}

pub(crate) fn device_id() -> impl Strategy<Value = DeviceId> {
    public_key().prop_map(|key| DeviceId::of_public_key(&key))
}

pub(crate) fn intent_id() -> impl Strategy<Value = IntentId> {
    uuid().prop_map(IntentId::from_uuid)
}

pub(crate) fn agent_id() -> impl Strategy<Value = AgentId> {
    uuid().prop_map(AgentId::from_uuid)
}

pub(crate) fn item_id() -> impl Strategy<Value = ItemId> {
    uuid().prop_map(ItemId::from_uuid)
}

pub(crate) fn permission_id() -> impl Strategy<Value = PermissionId> {
    uuid().prop_map(PermissionId::from_uuid)
}

pub(crate) fn epoch() -> impl Strategy<Value = Epoch> {
    uuid().prop_map(Epoch::from_uuid)
}

pub(crate) fn stamp() -> impl Strategy<Value = Stamp> {
    uuid().prop_map(Stamp::from_uuid)
}

pub(crate) fn agent() -> impl Strategy<Value = AgentSummary> {
    use AgentStatus::{Archived, Failed, Idle, Running, Starting, Waiting};
    let status = select(vec![Starting, Idle, Running, Waiting, Failed, Archived]);
    let times = (any::<i64>(), any::<i64>());
    let texts = (text(), text(), text(), option::of(text()));
    let intent = option::of(uuid().prop_map(IntentId::from_uuid));
    (agent_id(), texts, status, times, intent).prop_map(
        |(id, (title, provider, cwd, attention), status, (created_at, updated_at), intent_id)| {
            AgentSummary {
                id,
                title,
                provider,
                cwd,
                status,
                created_at,
                updated_at,
                attention,
                intent_id,
            }
        },
    )
}

pub(crate) fn item() -> impl Strategy<Value = TimelineItem> {
    use ItemKind::{Error, Message, Output, Permission, Plan, Thought, Tool, TurnEnd, User};
    use TurnStatus::{Cancelled, Completed, Failed, Interrupted};
    let kind = select(vec![
        User, Message, Thought, Tool, Output, Plan, Permission, Error, TurnEnd,
    ]);
    let stream = option::of(select(vec![OutputStream::Stdout, OutputStream::Stderr]));
    let end = (
        option::of(select(vec![Completed, Failed, Cancelled, Interrupted])),
        option::of(any::<i32>()),
    );
    let place = (item_id(), any::<u64>(), any::<i64>());
    let texts = (text(), 0..2_u64);
    (place, kind, texts, stream, end, option::of(intent_id())).prop_map(
        |((id, index, at), kind, (text, dropped_bytes), stream, (status, exit_code), intent_id)| {
            TimelineItem {
                id,
                index,
                kind,
                at,
                text,
                dropped_bytes,
                stream,
                status,
                exit_code,
                intent_id,
            }
        },
    )
}

pub(crate) fn permission() -> impl Strategy<Value = Permission> {
    let option = (text(), text()).prop_map(|(id, title)| PermissionOption { id, title });
    (permission_id(), text(), vec(option, 0..4)).prop_map(|(id, title, options)| Permission {
        id,
        title,
        options,
    })
}

pub(crate) fn row() -> impl Strategy<Value = Row> {
    (text(), text(), option::of(any::<u64>())).prop_map(|(key, value, omitted_bytes)| Row {
        key,
        value: samples::json(&serde_json::to_string(&value).unwrap()),
        unreadable: omitted_bytes.is_some_and(|bytes| bytes % 2 == 0),
        omitted_bytes,
    })
}

fn table_changed() -> impl Strategy<Value = TableChanged> {
    let keys = option::of(vec(text(), 0..3));
    let rows = (vec(row(), 0..3), vec(text(), 0..3), keys);
    (text(), rows, any::<bool>(), option::of(intent_id())).prop_map(
        |(name, (upserts, removed, keys), stale, intent_id)| TableChanged {
            name,
            scope: samples::scope(),
            upserts,
            removed,
            stale,
            keys,
            intent_id,
        },
    )
}

pub(crate) fn log_item() -> impl Strategy<Value = LogItem> {
    (any::<u64>(), text(), option::of(any::<u64>())).prop_map(|(index, value, omitted_bytes)| {
        LogItem {
            index,
            value: samples::json(&serde_json::to_string(&value).unwrap()),
            unreadable: omitted_bytes.is_some_and(|bytes| bytes % 2 == 0),
            omitted_bytes,
        }
    })
}

fn log_appended() -> impl Strategy<Value = LogAppended> {
    let items = (vec(log_item(), 0..3), any::<u64>(), any::<u64>());
    (text(), items, any::<bool>(), option::of(intent_id())).prop_map(
        |(name, (items, first, next), stale, intent_id)| LogAppended {
            key: name.clone(),
            name,
            items,
            first,
            next,
            stale,
            intent_id,
        },
    )
}

fn log_grown() -> impl Strategy<Value = LogGrown> {
    let of = (any::<u64>(), any::<bool>(), option::of(intent_id()));
    (text(), text(), text(), of).prop_map(|(name, field, text, (index, stale, intent_id))| {
        LogGrown {
            key: name.clone(),
            name,
            index,
            field,
            text,
            stale,
            intent_id,
        }
    })
}

fn log_replaced() -> impl Strategy<Value = LogReplaced> {
    let value = option::of(text()).prop_map(|value| {
        value.map(|value| samples::json(&serde_json::to_string(&value).unwrap()))
    });
    let of = (option::of(any::<u64>()), option::of(intent_id()));
    (text(), value, of).prop_map(|(name, value, (index, intent_id))| LogReplaced {
        key: name.clone(),
        name,
        index,
        stale: value.is_none(),
        value,
        intent_id,
    })
}

fn topic_event() -> impl Strategy<Value = TopicEvent> {
    (text(), text(), text(), option::of(intent_id())).prop_map(|(name, key, body, intent_id)| {
        TopicEvent {
            name,
            key,
            body: samples::json(&serde_json::to_string(&body).unwrap()),
            intent_id,
        }
    })
}

pub(crate) fn event() -> impl Strategy<Value = Sequenced> {
    let event = prop_oneof![
        agent().prop_map(|agent| SessionEvent::AgentUpdated { agent }),
        agent_id().prop_map(|agent_id| SessionEvent::AgentRemoved { agent_id }),
        (agent_id(), item())
            .prop_map(|(agent_id, item)| SessionEvent::TimelineAppended { agent_id, item }),
        (agent_id(), item())
            .prop_map(|(agent_id, item)| SessionEvent::TimelineUpdated { agent_id, item }),
        (agent_id(), item_id(), any::<u64>(), text()).prop_map(
            |(agent_id, item_id, index, text)| SessionEvent::TimelineDelta {
                agent_id,
                item_id,
                index,
                text,
            }
        ),
        (agent_id(), permission()).prop_map(|(agent_id, permission)| {
            SessionEvent::PermissionRequested {
                agent_id,
                permission,
            }
        }),
        table_changed().prop_map(|changed| SessionEvent::TableChanged(Box::new(changed))),
        log_appended().prop_map(|event| SessionEvent::LogAppended(Box::new(event))),
        log_grown().prop_map(|event| SessionEvent::LogGrown(Box::new(event))),
        log_replaced().prop_map(|event| SessionEvent::LogReplaced(Box::new(event))),
        topic_event().prop_map(|event| SessionEvent::TopicEvent(Box::new(event))),
    ];
    (any::<u64>(), event).prop_map(|(seq, event)| Sequenced { seq, event })
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let client = (text(), text(), text()).prop_map(|(name, version, platform)| ClientInfo {
        name,
        version,
        platform,
    });
    let resume =
        (epoch(), any::<u64>(), option::of(stamp())).prop_map(|(epoch, last_seq, stamp)| Resume {
            epoch,
            last_seq,
            stamp,
        });
    (
        select(vec![Purpose::Session, Purpose::Probe, Purpose::Pairing]),
        session_key(),
        client,
        vec(text(), 0..4),
        any::<([u8; 16], [u8; 32])>(),
        option::of(resume),
    )
        .prop_map(
            |(purpose, client_session_key, client, capabilities, (token, secret), resume)| Hello {
                protocol: bowline_protocol::PROTOCOL_VERSION,
                purpose,
                client_session_key,
                client,
                capabilities,
                key: (purpose != Purpose::Pairing).then(|| PresharedKey::from_bytes(secret).id()),
                pairing: (purpose == Purpose::Pairing).then(|| PairingHello {
                    offer: OfferId::of_token(&PairingToken::from_bytes(token)),
                    secret: PairingSecret::from_bytes(secret),
                }),
                resume,
            },
        )
}

pub(crate) fn welcome() -> impl Strategy<Value = Welcome> {
    use SessionState::{New, Reset, Resumed};
    let states = select(vec![New, Resumed, Reset]);
    let session = (states, epoch(), any::<u64>(), option::of(stamp())).prop_map(
        |(state, epoch, next_seq, stamp)| SessionWelcome {
            state,
            epoch,
            next_seq,
            stamp,
        },
    );
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    let accepted = (
        server_id(),
        (text(), text()),
        option::of(session),
        numbers,
        vec(text(), 0..4),
    )
        .prop_map(
            |(server_id, (server_name, version), session, n, capabilities)| Accepted {
                server_id,
                server_name,
                version,
                session,
                grant: None,
                heartbeat_ms: n.0,
                limits: WelcomeLimits {
                    max_message_bytes: n.1,
                    max_in_flight: n.2,
                },
                capabilities,
            },
        );
    let refused = (select(Reason::ALL), text(), option::of(any::<u64>())).prop_map(
        |(reason, message, retry_after_ms)| Refusal {
            retry_after_ms,
            ..Refusal::new(reason, message)
        },
    );
    prop_oneof![
        accepted.prop_map(Welcome::Accepted),
        refused.prop_map(Welcome::Refused)
    ]
}

pub(crate) fn rpc_error() -> impl Strategy<Value = RpcError> {
    prop_oneof![
        (select(RpcReason::ALL), text()).prop_map(|(reason, text)| RpcError::new(reason, text)),
        (any::<i32>(), text()).prop_map(|(code, message)| RpcError {
            code,
            message,
            data: None,
        }),
    ]
}

pub(crate) fn offer() -> impl Strategy<Value = Offer> {
    const NAME: &str = r"[a-z][a-z0-9-]{0,9}(\.[a-z][a-z0-9-]{0,9}){0,2}";
    let v6 = any::<Ipv6Addr>().prop_map(|ip| format!("[{ip}]"));
    let v4 = any::<Ipv4Addr>().prop_map(|ip| ip.to_string());
    let host = prop_oneof![NAME, v4, v6];
    let direct = (host, 1..=u16::MAX).prop_map(|(host, port)| format!("{host}:{port}"));
    // In normalised form.
    let relay = string_regex(&format!(
        "(wss|ws)://{NAME}(:4[0-9]{{3}})?(/[A-Za-z0-9%=&+.]{{1,12}})?"
    ))
    .unwrap();
    let name = text().prop_map(|name| name.replace(is_harmful, ""));
    let token = any::<[u8; 16]>().prop_map(PairingToken::from_bytes);
    (
        (server_id(), public_key(), token, name),
        hash_set(direct, 1..4),
        hash_set(relay, 0..3),
    )
        .prop_map(
            |((server_id, transport_key, token, name), direct, relays)| Offer {
                server_id,
                transport_key,
                token,
                name,
                direct: direct.into_iter().collect(),
                relays: relays.into_iter().collect(),
            },
        )
}
