//! Hello and welcome: the payloads of the Noise handshake.

use bowline_protocol::{
    Grant, Hello, Purpose, Reason, Refusal, Resume, SessionState, Welcome,
    handshake::{Accepted, ClientInfo, IdentityProof, PairingHello, SessionWelcome, WelcomeLimits},
    identity::{OfferId, PairingSecret, PresharedKey},
    limits,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{arbitrary, fixture::Golden, samples};

pub(crate) fn hello() -> Hello {
    Hello {
        protocol: 1,
        purpose: Purpose::Session,
        client_session_key: samples::session_key(),
        client: ClientInfo {
            name: "bowline".into(),
            version: "0.1.0".into(),
            platform: "linux".into(),
        },
        capabilities: Vec::new(),
        key: Some(PresharedKey::from_bytes([0x44; 32]).id()),
        pairing: None,
        resume: None,
    }
}

fn accepted(state: SessionState) -> Accepted {
    Accepted {
        server_id: samples::server(),
        server_name: "workshop".into(),
        version: "0.1.0".into(),
        session: Some(SessionWelcome {
            state,
            epoch: samples::epoch(),
            next_seq: 18,
            stamp: None,
        }),
        grant: Some(Grant::OWNER),
        heartbeat_ms: 4_000,
        limits: WelcomeLimits {
            max_message_bytes: limits::MAX_MESSAGE_BYTES,
            max_in_flight: limits::MAX_IN_FLIGHT,
        },
        capabilities: Vec::new(),
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome::Accepted(accepted(SessionState::Resumed))
}

/// A proof of the sample identity for the message `message 1`.
pub(crate) fn proof() -> IdentityProof {
    let transport = samples::transport_key().public();
    IdentityProof::sign(&samples::identity(), &transport, b"message 1")
}

#[test]
fn golden_hello() {
    let mut golden = Golden::new("hello.json");
    let hellos = [
        ("session", hello()),
        (
            "pairing",
            Hello {
                purpose: Purpose::Pairing,
                key: None,
                pairing: Some(PairingHello {
                    offer: OfferId::of_token(&samples::token()),
                    secret: PairingSecret::from_bytes([4; 32]),
                }),
                ..hello()
            },
        ),
        (
            "session.resume",
            Hello {
                capabilities: vec!["later".into()],
                resume: Some(Resume {
                    epoch: samples::epoch(),
                    last_seq: 17,
                    stamp: None,
                }),
                ..hello()
            },
        ),
        (
            "probe",
            Hello {
                purpose: Purpose::Probe,
                ..hello()
            },
        ),
    ];
    for (name, hello) in hellos {
        golden.json(name, serde_json::to_string(&hello).unwrap());
        if let Some(committed) = golden.committed().get(name) {
            assert_eq!(
                Hello::parse(committed.get().as_bytes()),
                Ok(hello),
                "{name}"
            );
        }
    }
    golden.check();
}

#[test]
fn golden_welcome() {
    let mut golden = Golden::new("welcome.json");
    let probe = Accepted {
        session: None,
        grant: None,
        capabilities: vec!["later".into()],
        ..accepted(SessionState::New)
    };
    let busy = Refusal {
        retry_after_ms: Some(1_500),
        ..Refusal::new(Reason::RateLimited, "too many attempts")
    };
    let welcomes = [
        ("new", Welcome::Accepted(accepted(SessionState::New))),
        ("resumed", welcome()),
        ("reset", Welcome::Accepted(accepted(SessionState::Reset))),
        ("probe", Welcome::Accepted(probe)),
        (
            "refused.never",
            Welcome::Refused(Refusal::new(
                Reason::SessionKeyConflict,
                "bound to another device",
            )),
        ),
        (
            "refused.after_user_action",
            Welcome::Refused(Refusal::new(Reason::DeviceUnknown, "not paired")),
        ),
        ("refused.backoff", Welcome::Refused(busy)),
        (
            "refused.soon",
            Welcome::Refused(Refusal::new(Reason::ServerRestarting, "back in a moment")),
        ),
    ];
    for (name, welcome) in welcomes {
        let json = String::from_utf8(welcome.to_json(&proof())).unwrap();
        assert_eq!(json.len() % 256, 0, "its size tells nothing");
        golden.json(name, json.trim_end().to_owned());
        if let Some(committed) = golden.committed().get(name) {
            let read = Welcome::parse(committed.get().as_bytes()).unwrap();
            assert_eq!(read, (proof(), welcome), "{name}");
        }
    }
    golden.check();
}

proptest! {
    #[test]
    fn every_hello_is_read_back_as_written(hello in arbitrary::hello()) {
        let bytes = hello.to_json();
        prop_assert_eq!(bytes.len() % 256, 0);
        prop_assert_eq!(Hello::parse(&bytes), Ok(hello));
    }

    #[test]
    fn every_welcome_is_read_back_as_written(welcome in arbitrary::welcome()) {
        prop_assert_eq!(Welcome::parse(&welcome.to_json(&proof())).unwrap(), (proof(), welcome));
    }

    #[test]
    fn random_bytes_are_an_error_with_a_reason(bytes: Vec<u8>) {
        prop_assert_eq!(Hello::parse(&bytes).unwrap_err().reason(), Reason::BadRequest);
        prop_assert!(Welcome::parse(&bytes).is_err());
    }

    /// A hello with any one member replaced by any value is either read or refused with a reason.
    #[test]
    fn a_hello_with_a_foreign_member_is_read_or_refused(
        member in prop::sample::select(vec![
            "protocol", "purpose", "clientSessionKey", "client", "capabilities", "key", "pairing", "resume",
        ]),
        value in prop_oneof![
            Just(Value::Null), any::<i64>().prop_map(Value::from), arbitrary::text().prop_map(Value::from),
            Just(json!([1])), Just(json!({"epoch": 1})),
        ],
    ) {
        let mut hello = serde_json::to_value(hello()).unwrap();
        hello[member] = value.clone();
        if let Err(error) = Hello::parse(&serde_json::to_vec(&hello).unwrap()) {
            prop_assert!(error.reason().close_code().is_some());
            if member == "clientSessionKey" {
                prop_assert_eq!(error.reason(), Reason::IdentityMissing, "INV-9");
            }
        } else {
            prop_assert!(member != "clientSessionKey" && member != "purpose" && member != "client");
        }
    }
}

#[test]
fn a_later_client_may_say_more() {
    let mut hello_json = serde_json::to_value(hello()).unwrap();
    hello_json["fromTheFuture"] = json!({"a": [1]});
    let read = Hello::parse(&serde_json::to_vec(&hello_json).unwrap());
    assert_eq!(read, Ok(hello()));
}

#[test]
fn the_version_is_looked_at_before_anything_else() {
    for text in [
        r#"{"protocol":2}"#,
        r#"{"protocol":0,"clientSessionKey":7}"#,
    ] {
        let error = Hello::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.reason(), Reason::ProtocolUnsupported, "{text}");
    }
}
