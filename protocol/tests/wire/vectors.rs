//! The test vectors of `docs/protocol.md`, by which the author of an independent client checks each
//! step (BX-3, TR-1, TR-3, TR-9, TR-10). With `BOWLINE_BLESS=1` the test rewrites the page.

use std::{fs, path::Path};

use bowline_protocol::{
    DeviceId, Grant, Hello, Purpose, Reason, Refusal, RouteKey, SessionState, Welcome,
    handshake::{Accepted, ClientInfo, IdentityProof, SessionWelcome, WelcomeLimits},
    identity::{OfferId, PairingNonce, PairingSecret, PresharedKey, pairing_code},
    offer::Offer,
    relay::{Binding, DigestSalt, KnownDevices, Nonce},
    seal::Responder,
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::{
    fixture::blessing,
    noise::{foreign_under, read, seal_by_hand, write},
    samples,
};

const BEGIN: &str = "<!-- vectors: begin -->\n";
const END: &str = "<!-- vectors: end -->\n";
/// Private keys as in [`samples`], which the page repeats.
const DAEMON: [u8; 32] = [0x22; 32];
const DEVICE: [u8; 32] = [0x33; 32];
const CLIENT_EPHEMERAL: [u8; 32] = [0x77; 32];
const DAEMON_EPHEMERAL: [u8; 32] = [0x88; 32];
const SECRET: [u8; 32] = [0x55; 32];
const CODE_NONCE: [u8; 16] = [0x66; 16];
const RELAY_NONCE: [u8; 32] = [0x99; 32];
const SALT: [u8; 16] = [0xaa; 16];
const ORIGIN: &str = "wss://relay.example.org";

fn offer() -> Offer {
    Offer {
        server_id: samples::server(),
        transport_key: samples::transport_key().public(),
        token: samples::token(),
        name: "Ann's laptop".to_owned(),
        direct: vec!["192.0.2.1:4717".to_owned()],
        relays: vec![ORIGIN.to_owned()],
    }
}

fn offer_key() -> PresharedKey {
    PresharedKey::of_offer(&samples::token())
}

fn device_key() -> PresharedKey {
    PresharedKey::of_device(&offer_key(), &PairingSecret::from_bytes(SECRET))
}

fn hello() -> Hello {
    Hello {
        protocol: 1,
        purpose: Purpose::Session,
        client_session_key: samples::session_key(),
        client: ClientInfo {
            name: "example".into(),
            version: "1".into(),
            platform: "linux".into(),
        },
        capabilities: Vec::new(),
        key: Some(device_key().id()),
        pairing: None,
        resume: None,
    }
}

fn accepting() -> Welcome {
    Welcome::Accepted(Accepted {
        server_id: samples::server(),
        server_name: "workshop".into(),
        version: "0.1.0".into(),
        session: Some(SessionWelcome {
            state: SessionState::New,
            epoch: samples::epoch(),
            next_seq: 1,
            stamp: Some("st_01980000111172228333444455556666".parse().unwrap()),
        }),
        grant: Some(Grant::OWNER),
        heartbeat_ms: 4_000,
        limits: WelcomeLimits {
            max_message_bytes: 1_048_576,
            max_in_flight: 256,
        },
        capabilities: Vec::new(),
    })
}

/// What follows from the fixed keys, by name.
fn derived() -> Vec<(&'static str, String)> {
    let (device, server) = (samples::device_key().public(), samples::server());
    let nonce = PairingNonce::from_bytes(CODE_NONCE);
    let secret = PairingSecret::from_bytes(SECRET);
    let code = pairing_code(&offer_key(), &device, &secret, &nonce);
    let route = RouteKey::of_device(&device, &server);
    let known = KnownDevices::salted(DigestSalt::from_bytes(SALT), [&route]);
    let known = serde_json::to_value(known).unwrap();
    let binding = Binding {
        origin: ORIGIN.parse().unwrap(),
        exporter: None,
    };
    let proof = Nonce::from_bytes(RELAY_NONCE).sign(&samples::identity(), &binding);
    let identity = BASE64URL_NOPAD.encode(samples::identity().public_key());
    vec![
        ("identity key, public", identity),
        ("`serverId`", server.to_string()),
        (
            "transport key, public",
            samples::transport_key().public().to_string(),
        ),
        ("device key, public", device.to_string()),
        ("`deviceId`", DeviceId::of_public_key(&device).to_string()),
        (
            "`clientSessionKey`",
            samples::session_key().as_str().to_owned(),
        ),
        ("route key", route.as_str().to_owned()),
        (
            "`offerId`",
            OfferId::of_token(&samples::token()).to_string(),
        ),
        ("offer", offer().to_string()),
        ("key of the offer", HEXLOWER.encode(offer_key().as_bytes())),
        (
            "key of the device",
            HEXLOWER.encode(device_key().as_bytes()),
        ),
        ("`key` of its hellos", device_key().id().to_string()),
        ("six digits", code),
        (
            "`digests` of a list of this device",
            known["digests"].as_str().unwrap().to_owned(),
        ),
        (
            "`signature` of a registration",
            BASE64URL_NOPAD.encode(proof.as_bytes()),
        ),
    ]
}

/// A payload of the handshake: its JSON, and the length that spaces fill it up to.
fn payload(out: &mut String, what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap();
    let json = text.trim_end();
    let length = bytes.len();
    out.push_str(&format!(
        "\n{what}, followed by spaces up to {length} bytes:\n\n```text\n{json}\n```\n"
    ));
}

fn message(out: &mut String, what: &str, bytes: &[u8]) {
    out.push_str(&format!("\n{what}, {} bytes:\n\n```text\n", bytes.len()));
    for line in bytes.chunks(56) {
        out.push_str(&HEXLOWER.encode(line));
        out.push('\n');
    }
    out.push_str("```\n");
}

fn conversation(out: &mut String) {
    let daemon = samples::transport_key().public();
    let key = device_key();
    let client = || {
        let daemon = Some(daemon.as_bytes().as_slice());
        foreign_under(key.as_bytes(), &DEVICE, daemon, Some(&CLIENT_EPHEMERAL))
    };
    let server = |psk: &PresharedKey| {
        let ephemeral = Some(DAEMON_EPHEMERAL.as_slice());
        foreign_under(psk.as_bytes(), &DAEMON, None, ephemeral)
    };
    let mut initiator = client();
    let hello = hello().to_json();
    let first = write(&mut initiator, &hello);
    payload(out, "The hello", &hello);
    message(out, "Message 1", &first);
    let proof = IdentityProof::sign(&samples::identity(), &daemon, &first);
    // What the crate itself reads there.
    let mut ours = Responder::new(&samples::transport_key(), &samples::server()).unwrap();
    let read_by_us = ours.read_hello(&first).unwrap();
    assert_eq!(read_by_us, (samples::device_key().public(), hello.clone()));

    let welcome = accepting().to_json(&proof);
    let mut responder = server(&key);
    assert_eq!(read(&mut responder, &first), hello);
    let second = write(&mut responder, &welcome);
    assert_eq!(read(&mut initiator, &second), welcome);
    payload(out, "The welcome", &welcome);
    message(out, "Message 2", &second);
    let hash = HEXLOWER.encode(initiator.get_handshake_hash());
    out.push_str(&format!("\nThe handshake hash *h* after it: `{hash}`\n"));
    let mut initiator = initiator.into_transport_mode().unwrap();
    let mut responder = responder.into_transport_mode().unwrap();
    let ready = br#"{"jsonrpc":"2.0","method":"session.ready"}"#;
    let transport = [
        (
            "The client's first transport message: flag 0, `{\"jsonrpc\":\"2.0\",\"method\":\"session.ready\"}`",
            seal_by_hand(&mut initiator, 0, ready),
        ),
        (
            "Its second: flag 1, `{\"in two`",
            seal_by_hand(&mut initiator, 1, b"{\"in two"),
        ),
        (
            "Its third: flag 0, ` chunks\":1}`",
            seal_by_hand(&mut initiator, 0, b" chunks\":1}"),
        ),
        (
            "The daemon's first: flag 2, `{}` and `[]`",
            seal_by_hand(&mut responder, 2, b"\0\x02{}\0\x02[]"),
        ),
    ];
    for (what, bytes) in transport {
        message(out, what, &bytes);
    }

    let refusal = Welcome::Refused(Refusal::new(Reason::DeviceUnknown, "not paired"));
    let refusal = refusal.to_json(&proof);
    let mut responder = server(&PresharedKey::NONE);
    read(&mut responder, &first);
    let second = write(&mut responder, &refusal);
    payload(
        out,
        "A refusal of the same message 1, which opens under *none* only",
        &refusal,
    );
    message(out, "Its message 2", &second);
}

fn vectors() -> String {
    let mut out = String::from("\n| value | |\n|---|---|\n");
    for (name, value) in derived() {
        out.push_str(&format!("| {name} | `{value}` |\n"));
    }
    conversation(&mut out);
    out.push('\n');
    out
}

#[test]
fn bx_3_tr_3_the_page_shows_the_bytes_of_every_step() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = fs::read_to_string(&page).unwrap().replace("\r\n", "\n");
    let (before, rest) = text.split_once(BEGIN).expect("the page has vectors");
    let (on_page, after) = rest.split_once(END).expect("the vectors end");
    let ours = vectors();
    if blessing() {
        fs::write(&page, [before, BEGIN, &ours, END, after].concat()).unwrap();
        return;
    }
    for (ours, on_page) in ours.lines().zip(on_page.lines()) {
        assert_eq!(on_page, ours, "docs/protocol.md: a vector changed");
    }
    assert_eq!(on_page, ours, "docs/protocol.md: vectors");
}
