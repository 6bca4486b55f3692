//! Routing messages between relays, daemons and clients (RL-1, RL-2, RL-5).

use std::time::Duration;

use bowline_protocol::{
    DaemonIdentity, PublicKey, Reason, RouteKey, ServerId,
    identity::Signature,
    relay::{
        Binding, CloseText, DaemonMessage, DataToken, DigestSalt, KnownDevices, Lane, LaneError,
        LaneFrame, LaneHeader, LaneKind, Nonce, ProofError, Registration, RelayMessage,
        TlsExporter, client_path, data_path, limits,
    },
};
use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

use crate::{arbitrary, fixture::Golden, samples};

fn nonce() -> Nonce {
    Nonce::from_bytes([0x55; 32])
}

/// The daemon dialled `wss://relay.example.org`; with TLS of its own or a proxy's.
fn binding(exporter: Option<[u8; 32]>) -> Binding {
    Binding {
        origin: "wss://relay.example.org".parse().unwrap(),
        exporter: exporter.map(TlsExporter::from_bytes),
    }
}

fn route() -> RouteKey {
    RouteKey::of_device(&samples::device_key().public(), &samples::server())
}

#[test]
fn golden_relay_messages() {
    let mut golden = Golden::new("relay.json");
    golden.value("challenge", &RelayMessage::Challenge { nonce: nonce() });
    let exporter = Some([0x77; 32]);
    let answer = Registration::answer(&samples::identity(), &nonce(), binding(exporter), None);
    golden.value("register", &DaemonMessage::Register(Box::new(answer)));
    let token = Some("s3cret".to_owned());
    let private = Registration::answer(&samples::identity(), &nonce(), binding(None), token);
    golden.value(
        "register at a private relay",
        &DaemonMessage::Register(Box::new(private)),
    );
    let known = KnownDevices::salted(DigestSalt::from_bytes([0x88; 16]), &[route()]);
    golden.value("devices", &DaemonMessage::Devices(known));
    let data_token = DataToken::from_bytes([0x66; 32]);
    let header = serde_json::to_string(&data_token.to_header()).unwrap();
    let registered = RelayMessage::Registered {
        heartbeat_ms: 4_000,
        data_token,
    };
    golden.value("registered", &registered);
    let sessions = vec![route()];
    golden.value("sync", &RelayMessage::Sync { sessions });
    golden.value(
        "sync without sessions",
        &RelayMessage::Sync { sessions: vec![] },
    );
    let session = route();
    golden.value("session_opened", &RelayMessage::SessionOpened { session });
    let session = route();
    golden.value("session_closed", &RelayMessage::SessionClosed { session });
    golden.json("Authorization", header);
    for (name, path) in [
        ("data path", data_path(&route())),
        ("client path", client_path(&samples::server(), &route())),
    ] {
        golden.value(name, &path);
    }
    let lane = Lane::new(0x0102_0304);
    golden.hex("lane open", &LaneFrame::Open { lane }.encode());
    let payload = Bytes::from_static(b"sealed");
    golden.hex("lane data", &LaneFrame::Data { lane, payload }.encode());
    golden.hex(
        "lane close",
        &LaneFrame::Close { lane, code: 4404 }.encode(),
    );
    let text = CloseText {
        reason: Reason::RateLimited,
        retry_after: Some(Duration::from_millis(1_500)),
    };
    golden.value("close text", &text.to_string());
    golden.check();
}

#[test]
fn unknown_messages_and_members_are_ignored() {
    let later = r#"{"type":"weather","rain":true}"#;
    let read: RelayMessage = serde_json::from_str(later).unwrap();
    assert_eq!(read, RelayMessage::Unknown);
    let read: DaemonMessage = serde_json::from_str(later).unwrap();
    assert_eq!(read, DaemonMessage::Unknown);
    let more = r#"{"type":"sync","sessions":[],"weather":"rain"}"#;
    let read: RelayMessage = serde_json::from_str(more).unwrap();
    assert_eq!(read, RelayMessage::Sync { sessions: vec![] });
    assert!(serde_json::from_str::<DaemonMessage>(r#"{"type":"register"}"#).is_err());
}

#[test]
fn malformed_lane_frames_are_errors() {
    let decode = |bytes: &'static [u8]| LaneFrame::decode(Bytes::from_static(bytes)).unwrap_err();
    assert_eq!(decode(&[]), LaneError::Short(0));
    assert_eq!(decode(&[1, 0, 0, 0]), LaneError::Short(4));
    assert_eq!(decode(&[3, 0, 0, 0, 1]), LaneError::Kind(3));
    let payload = |kind, len| LaneError::Payload { kind, len };
    assert_eq!(decode(&[0, 0, 0, 0, 1, 9]), payload(LaneKind::Open, 1));
    assert_eq!(decode(&[2, 0, 0, 0, 1, 9]), payload(LaneKind::Close, 1));
    assert_eq!(
        decode(&[2, 0, 0, 0, 1, 9, 9, 9]),
        payload(LaneKind::Close, 3)
    );
}

#[test]
fn close_texts_fit_a_close_frame() {
    for reason in Reason::ALL {
        let text = CloseText {
            reason: *reason,
            retry_after: Some(Duration::MAX),
        };
        assert!(text.to_string().len() <= 123, "{text}");
    }
    assert_eq!(CloseText::retry_after("rate_limited"), None);
    assert_eq!(
        CloseText::retry_after("rate_limited;retryAfterMs=soon"),
        None
    );
    assert_eq!(
        CloseText::retry_after("x;retryAfterMs=99999999999"),
        Some(limits::MAX_RETRY_AFTER),
        "a hostile relay cannot send a client away for ever"
    );
}

fn lane_frame() -> impl Strategy<Value = LaneFrame> {
    let lane = any::<u32>().prop_map(Lane::new);
    prop_oneof![
        lane.clone().prop_map(|lane| LaneFrame::Open { lane }),
        (lane.clone(), vec(any::<u8>(), 0..300)).prop_map(|(lane, payload)| LaneFrame::Data {
            lane,
            payload: payload.into()
        }),
        (lane, any::<u16>()).prop_map(|(lane, code)| LaneFrame::Close { lane, code }),
    ]
}

fn route_key() -> impl Strategy<Value = RouteKey> {
    (any::<[u8; 32]>(), arbitrary::server_id())
        .prop_map(|(key, server)| RouteKey::of_device(&PublicKey::from_bytes(key), &server))
}

fn relay_message() -> impl Strategy<Value = RelayMessage> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|bytes| RelayMessage::Challenge {
            nonce: Nonce::from_bytes(bytes)
        }),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(heartbeat_ms, token)| {
            RelayMessage::Registered {
                heartbeat_ms,
                data_token: DataToken::from_bytes(token),
            }
        }),
        vec(route_key(), 0..5).prop_map(|sessions| RelayMessage::Sync { sessions }),
        route_key().prop_map(|session| RelayMessage::SessionOpened { session }),
        route_key().prop_map(|session| RelayMessage::SessionClosed { session }),
    ]
}

proptest! {
    #[test]
    fn every_lane_frame_is_read_back_as_written(frame in lane_frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(LaneFrame::decode(bytes.clone()).unwrap(), frame.clone());
        let header = bytes.first_chunk::<{ LaneHeader::LEN }>().unwrap();
        prop_assert_eq!(LaneHeader::from_bytes(*header).unwrap(), frame.header());
        prop_assert_eq!(frame.header().to_bytes(), *header);
    }

    /// RL-1: any payload passes unread and without a copy.
    #[test]
    fn rl_1_any_payload_passes_unchanged_in_the_same_memory(bytes in vec(any::<u8>(), 1..500)) {
        let frame = LaneFrame::Data { lane: Lane::new(7), payload: bytes.clone().into() };
        let message = frame.encode();
        let body = message.slice(LaneHeader::LEN..);
        let LaneFrame::Data { payload, .. } = LaneFrame::decode(message).unwrap() else {
            return Err(TestCaseError::fail("no data"));
        };
        prop_assert_eq!(&payload, &bytes);
        prop_assert_eq!(payload.as_ptr(), body.as_ptr());
    }

    #[test]
    fn any_bytes_are_a_lane_frame_or_an_error(bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(frame) = LaneFrame::decode(bytes.clone().into()) {
            prop_assert_eq!(frame.encode(), bytes);
        }
    }

    #[test]
    fn every_control_message_is_read_back_as_written(
        message in relay_message(), seed: [u8; 32], token in option::of(arbitrary::text()),
        exporter: Option<[u8; 32]>,
    ) {
        let json = serde_json::to_string(&message).unwrap();
        prop_assert_eq!(serde_json::from_str::<RelayMessage>(&json).unwrap(), message);
        let identity = DaemonIdentity::from_seed(seed).unwrap();
        let registration = Registration::answer(&identity, &nonce(), binding(exporter), token);
        let register = DaemonMessage::Register(Box::new(registration));
        let json = serde_json::to_string(&register).unwrap();
        prop_assert_eq!(serde_json::from_str::<DaemonMessage>(&json).unwrap(), register);
    }

    #[test]
    fn rl_5_a_proof_holds_for_its_key_and_its_challenge_only(
        seed: [u8; 32], other: [u8; 32], challenge: [u8; 32], later: [u8; 32], bit in 0..512_usize,
    ) {
        prop_assume!(seed != other && challenge != later);
        let (challenge, later) = (Nonce::from_bytes(challenge), Nonce::from_bytes(later));
        let identity = DaemonIdentity::from_seed(seed).unwrap();
        let proof = Registration::answer(&identity, &challenge, binding(None), None);
        prop_assert_eq!(proof.verify(&challenge), Ok(()));
        prop_assert_eq!(proof.verify(&later), Err(ProofError::WrongSignature), "a replay");

        // An impostor can present the name and the key, but cannot sign.
        let impostor = DaemonIdentity::from_seed(other).unwrap();
        let mut forged = Registration::answer(&impostor, &challenge, binding(None), None);
        forged.server_id = identity.server_id().clone();
        prop_assert_eq!(forged.verify(&challenge), Err(ProofError::WrongServerId));
        forged.public_key = identity.verifying_key();
        prop_assert_eq!(forged.verify(&challenge), Err(ProofError::WrongSignature));

        let mut signature = *proof.signature.as_bytes();
        signature[bit / 8] ^= 1 << (bit % 8);
        let bent = Registration { signature: Signature::from_bytes(signature), ..proof };
        prop_assert_eq!(bent.verify(&challenge), Err(ProofError::WrongSignature));
    }

    #[test]
    fn tr_9_a_proof_holds_for_its_origin_and_its_tls_connection_only(
        seed: [u8; 32], challenge: [u8; 32], exporter: [u8; 32], other: [u8; 32],
    ) {
        prop_assume!(exporter != other);
        let challenge = Nonce::from_bytes(challenge);
        let identity = DaemonIdentity::from_seed(seed).unwrap();
        let proof = Registration::answer(&identity, &challenge, binding(Some(exporter)), None);
        prop_assert_eq!(proof.verify(&challenge), Ok(()));
        let origin = "ws://relay.example.org".parse().unwrap();
        let elsewhere = Binding { origin, ..binding(Some(exporter)) };
        for binding in [binding(Some(other)), binding(None), elsewhere] {
            let moved = Registration { binding, ..proof.clone() };
            prop_assert_eq!(moved.verify(&challenge), Err(ProofError::WrongSignature));
        }
    }

    #[test]
    fn tr_10_a_list_of_devices_fits_a_message_and_recognises_its_own(
        salt: [u8; 16], routes in vec(route_key(), 0..300), other in route_key(),
    ) {
        prop_assume!(!routes.contains(&other));
        let known = KnownDevices::salted(DigestSalt::from_bytes(salt), &routes);
        let json = serde_json::to_string(&DaemonMessage::Devices(known.clone())).unwrap();
        prop_assert!(json.len() <= limits::MAX_CONTROL_MESSAGE);
        let read = serde_json::from_str::<DaemonMessage>(&json).unwrap();
        prop_assert_eq!(read, DaemonMessage::Devices(known.clone()));
        for route in routes.iter().take(KnownDevices::MOST) {
            prop_assert!(known.contains(route));
            prop_assert!(!json.contains(route.as_str()));
        }
        prop_assert!(!known.contains(&other));
    }

    #[test]
    fn a_data_token_is_read_back_from_its_header_and_shown_nowhere(bytes: [u8; 32]) {
        let token = DataToken::from_bytes(bytes);
        let header = token.to_header();
        prop_assert_eq!(&DataToken::from_header(&header).unwrap(), &token);
        prop_assert_eq!(&DataToken::from_header(&header.replace("Bearer", "bearer")).unwrap(), &token);
        let secret = header.trim_start_matches("Bearer ");
        let shown = format!("{token:?}");
        prop_assert!(!shown.contains(secret));
        prop_assert!(DataToken::from_header(secret).is_err());
        prop_assert!(DataToken::from_header(&header[..header.len() - 1]).is_err());
    }

    #[test]
    fn the_retry_delay_is_read_back(millis in 0..3_600_000_u64) {
        let retry_after = Some(Duration::from_millis(millis));
        let text = CloseText { reason: Reason::ServerRestarting, retry_after };
        prop_assert_eq!(CloseText::retry_after(&text.to_string()), retry_after);
    }

    #[test]
    fn paths_name_what_they_lead_to(route in route_key(), server in arbitrary::server_id()) {
        let path = client_path(&server, &route);
        let mut parts = path.rsplit('/');
        prop_assert_eq!(parts.next().unwrap().parse::<RouteKey>().unwrap(), route.clone());
        prop_assert_eq!(parts.next().unwrap().parse::<ServerId>().unwrap(), server);
        let path = data_path(&route);
        prop_assert_eq!(path.rsplit('=').next().unwrap(), route.as_str());
    }
}
