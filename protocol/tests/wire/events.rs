//! Events of a session.

use bowline_protocol::{
    DeviceId, PublicKey, Role, SessionEvent,
    live::{LogAppended, LogGrown, LogReplaced, TableChanged},
    methods::name::SESSION_EVENT,
    rpc::{Incoming, Text, parse, write_notification},
    session_event::{PairedDevice, Sequenced},
};
use proptest::prelude::*;

use crate::{arbitrary, fixture::Golden, samples};

fn one_of_each() -> Vec<SessionEvent> {
    let agent_id = samples::agent_id();
    vec![
        SessionEvent::AgentUpdated {
            agent: samples::agent_wanting_attention(),
        },
        SessionEvent::AgentRemoved {
            agent_id: agent_id.clone(),
        },
        SessionEvent::TimelineAppended {
            agent_id: agent_id.clone(),
            item: samples::user_item(),
        },
        SessionEvent::TimelineDelta {
            agent_id: agent_id.clone(),
            item_id: samples::item_id(),
            index: 1,
            text: "more\r\n".into(),
        },
        SessionEvent::TimelineUpdated {
            agent_id: agent_id.clone(),
            item: samples::dropped_item(),
        },
        SessionEvent::PermissionRequested {
            agent_id,
            permission: samples::permission(),
        },
        SessionEvent::DevicePaired {
            device: PairedDevice {
                device_id: DeviceId::of_public_key(&PublicKey::from_bytes([7; 32])),
                name: "bowline on phone".into(),
                platform: "android".into(),
                role: Role::Operator,
                paired_at: 1_790_000_000_000,
            },
        },
        SessionEvent::TableChanged(Box::new(samples::table_changed())),
        SessionEvent::LogAppended(Box::new(samples::log_appended())),
        SessionEvent::LogGrown(Box::new(samples::log_grown())),
        SessionEvent::LogReplaced(Box::new(samples::log_replaced())),
        SessionEvent::TopicEvent(Box::new(samples::topic_event())),
    ]
}

#[test]
fn golden_events() {
    let mut golden = Golden::new("events.json");
    for (event, name) in one_of_each().into_iter().zip(SessionEvent::TYPES) {
        golden.value(name, &Sequenced { seq: 18, event });
    }
    for (name, item) in [
        ("timeline.appended, output", samples::output_item()),
        ("timeline.appended, turn_end", samples::turn_end_item()),
    ] {
        let event = SessionEvent::TimelineAppended {
            agent_id: samples::agent_id(),
            item,
        };
        golden.value(name, &Sequenced { seq: 19, event });
    }
    let wholly = TableChanged {
        keys: None,
        ..samples::stale_table()
    };
    for (name, changed) in [
        ("table.changed, stale rows", samples::stale_table()),
        ("table.changed, a stale scope", wholly),
    ] {
        let event = SessionEvent::TableChanged(Box::new(changed));
        golden.value(name, &Sequenced { seq: 20, event });
    }
    for (name, is_stale) in [
        ("log.appended, stale", true),
        ("log.appended, dropped items", false),
    ] {
        let event = SessionEvent::LogAppended(Box::new(LogAppended {
            items: Vec::new(),
            stale: is_stale,
            intent_id: None,
            ..samples::log_appended()
        }));
        golden.value(name, &Sequenced { seq: 20, event });
    }
    let event = SessionEvent::LogGrown(Box::new(LogGrown {
        text: String::new(),
        stale: true,
        ..samples::log_grown()
    }));
    golden.value("log.grown, stale", &Sequenced { seq: 20, event });
    for (name, value) in [
        ("log.replaced, stale", None),
        (
            "log.replaced, null",
            Some(serde_json::from_str("null").unwrap()),
        ),
    ] {
        let event = SessionEvent::LogReplaced(Box::new(LogReplaced {
            stale: value.is_none(),
            value,
            ..samples::log_replaced()
        }));
        golden.value(name, &Sequenced { seq: 20, event });
    }
    let event = SessionEvent::LogReplaced(Box::new(LogReplaced {
        index: None,
        stale: true,
        value: None,
        ..samples::log_replaced()
    }));
    golden.value("log.replaced, any", &Sequenced { seq: 20, event });
    golden.check();
}

#[test]
fn the_list_of_types_is_that_of_the_events() {
    let types: Vec<_> = one_of_each()
        .iter()
        .map(|event| serde_json::to_value(event).unwrap()["type"].clone())
        .collect();
    assert_eq!(types, SessionEvent::TYPES);
}

#[test]
fn ld_2_the_json_of_rows_items_and_topics_is_kept_as_it_came() {
    let text = r#"{"seq":1,"event":{"upserts":[{"key":"k","value":{"b":1e2,"a":0.1000}}],"scope":"*","type":"table.changed","name":"x.y"}}"#;
    let Sequenced { event, .. } = serde_json::from_str(text).unwrap();
    let SessionEvent::TableChanged(changed) = event else {
        panic!("{event:?}");
    };
    assert_eq!(changed.upserts[0].value.get(), r#"{"b":1e2,"a":0.1000}"#);
    let text = r#"{"seq":1,"event":{"key":"k","type":"topic.event","body":{"b":1e2,"a":0.1000},"name":"x.y"}}"#;
    let Sequenced { event, .. } = serde_json::from_str(text).unwrap();
    let SessionEvent::TopicEvent(event) = event else {
        panic!("{event:?}");
    };
    assert_eq!(event.body.get(), r#"{"b":1e2,"a":0.1000}"#);
    let text = r#"{"seq":1,"event":{"items":[{"index":7,"value":{"b":1e2,"a":0.1000}}],"first":7,"next":8,"key":"k","type":"log.appended","name":"x.y"}}"#;
    let Sequenced { event, .. } = serde_json::from_str(text).unwrap();
    let SessionEvent::LogAppended(event) = event else {
        panic!("{event:?}");
    };
    assert_eq!(event.items[0].value.get(), r#"{"b":1e2,"a":0.1000}"#);
    for value in [r#"{"b":1e2,"a":0.1000}"#, "null"] {
        let text = format!(
            r#"{{"seq":1,"event":{{"value":{value},"index":7,"key":"k","type":"log.replaced","name":"x.y"}}}}"#
        );
        let Sequenced { event, .. } = serde_json::from_str(&text).unwrap();
        let SessionEvent::LogReplaced(event) = event else {
            panic!("{event:?}");
        };
        assert_eq!(event.value.as_ref().map(|value| value.get()), Some(value));
    }
}

/// What later daemons send is no error, whatever it holds.
#[test]
fn an_unknown_event_is_read_as_one_and_a_malformed_one_is_an_error() {
    for unknown in [
        r#"{"type":"blob.stored","at":[1e400]}"#,
        r#"{"x":1,"type":"a\u002eb"}"#,
    ] {
        let event: SessionEvent = serde_json::from_str(unknown).unwrap();
        assert_eq!(event, SessionEvent::Unknown, "{unknown}");
    }
    for bad in [
        r#"{}"#,
        r#"[]"#,
        r#"{"type":7}"#,
        r#"{"type":"agent.removed"}"#,
        r#"{"type":"table.changed","name":"x"}"#,
        r#"{"type":"table.changed","name":"x","scope":""}"#,
        r#"{"type":"topic.event","name":"x","key":"k"}"#,
        r#"{"type":"log.appended","name":"x","key":"k","first":0}"#,
        r#"{"type":"log.grown","name":"x","key":"k","index":0}"#,
    ] {
        assert!(serde_json::from_str::<SessionEvent>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn every_event_arrives_as_written(event in arbitrary::event()) {
        let mut bytes = Vec::new();
        write_notification(&mut bytes, SESSION_EVENT, &event).unwrap();
        let Ok(Text::Single(Incoming::Notification(got))) = parse(&bytes) else {
            return Err(TestCaseError::fail("no notification"));
        };
        prop_assert_eq!(got.method, SESSION_EVENT);
        let params = got.params.ok_or_else(|| TestCaseError::fail("no params"))?;
        prop_assert_eq!(serde_json::from_str::<Sequenced>(params.get()).unwrap(), event);
    }
}
