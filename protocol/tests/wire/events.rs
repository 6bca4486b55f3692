//! Events of a session.

use bowline_protocol::{
    DeviceId, PublicKey, Role, SessionEvent,
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
