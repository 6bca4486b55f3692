//! What a hostile relay can do: refuse service, and nothing else (RL-1, BX-3).

use bowline_protocol::relay::{Lane, LaneFrame, RelayMessage};
use bowline_testkit::eventually;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{
    Install, TestDaemon,
    client::Attempt,
    fake_relay::{FakeControl, FakeData, FakeRelay, LaneClient},
    relay::{registered, shown, url},
};

/// `crypto_failed`.
const CRYPTO: u16 = 4440;
/// `bad_request`.
const BAD: u16 = 4400;

/// A daemon in the hands of a relay, and one session with two clients.
struct Hands {
    daemon: TestDaemon,
    fake: FakeRelay,
    control: FakeControl,
    data: FakeData,
    attempt: Attempt,
    one: LaneClient,
    two: LaneClient,
}

impl Hands {
    async fn new() -> Self {
        let (mut fake, address) = FakeRelay::start().await;
        let daemon = TestDaemon::with(|settings| settings.relay = vec![url(address)]).await;
        let mut control = fake.registered().await;
        let install = Install::new();
        let route = install.route(daemon.daemon.server_id());
        control.sync(&[route]).await;
        registered(&daemon, 0).await;
        let mut data = fake.data().await;
        let pairing = Attempt::of_offer(&daemon.offer().await, &install);
        pairing.pair().await;
        let attempt = pairing.paired();
        let mut one = data.client(&attempt, 1).await;
        assert!(one.is_served(&mut data).await);
        let mut two = data.client(&attempt, 2).await;
        assert!(two.is_served(&mut data).await);
        Self {
            daemon,
            fake,
            control,
            data,
            attempt,
            one,
            two,
        }
    }

    /// One sealed message of the first client.
    fn message(&mut self) -> Vec<u8> {
        let mut messages = self.one.request("system.ping", &json!({}));
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    async fn carry(&mut self, message: Vec<u8>) {
        self.data.carry(self.one.lane, message).await;
    }

    /// The first lane ends with that code; the second is as well as before, and the device can come
    /// back.
    async fn only_the_lane_ends(mut self, code: u16) {
        assert_eq!(self.data.closed(self.one.lane).await, code);
        assert!(self.two.is_served(&mut self.data).await);
        let mut next = self.data.client(&self.attempt, 3).await;
        assert!(next.is_served(&mut self.data).await);
        assert_eq!(self.daemon.session_count().await, 1);
    }
}

#[tokio::test]
async fn rl_1_a_dropped_message_ends_the_connection_and_is_never_skipped() {
    let mut hands = Hands::new().await;
    let _dropped = hands.message();
    let next = hands.message();
    hands.carry(next).await;
    hands.only_the_lane_ends(CRYPTO).await;
}

#[tokio::test]
async fn rl_1_a_repeated_message_is_never_heard_twice() {
    let mut hands = Hands::new().await;
    let message = hands.message();
    hands.carry(message.clone()).await;
    hands.one.answer(&mut hands.data).await.unwrap();
    hands.carry(message).await;
    hands.only_the_lane_ends(CRYPTO).await;
}

#[tokio::test]
async fn rl_1_reordered_messages_are_not_taken() {
    let mut hands = Hands::new().await;
    let (first, second) = (hands.message(), hands.message());
    hands.carry(second).await;
    hands.carry(first).await;
    hands.only_the_lane_ends(CRYPTO).await;
}

#[tokio::test]
async fn rl_1_a_truncated_or_changed_message_is_not_taken() {
    for change in [
        |message: &mut Vec<u8>| message.truncate(message.len() / 2),
        |message: &mut Vec<u8>| message.clear(),
        |message: &mut Vec<u8>| message.push(0),
        |message: &mut Vec<u8>| message[3] ^= 1,
    ] {
        let mut hands = Hands::new().await;
        let mut message = hands.message();
        change(&mut message);
        hands.carry(message).await;
        hands.only_the_lane_ends(CRYPTO).await;
    }
}

#[tokio::test]
async fn rl_1_an_injected_message_is_not_taken() {
    let mut hands = Hands::new().await;
    let plain = br#"{"jsonrpc":"2.0","id":1,"method":"system.info","params":{}}"#;
    hands.carry(plain.to_vec()).await;
    hands.only_the_lane_ends(CRYPTO).await;
}

#[tokio::test]
async fn inv_4_messages_of_one_lane_are_nothing_to_another() {
    let mut hands = Hands::new().await;
    let message = hands.two.request("system.ping", &json!({})).remove(0);
    hands.carry(message).await;
    assert_eq!(hands.data.closed(hands.one.lane).await, CRYPTO);
    // What was taken from the second client is missing there, so its next message ends it as well.
    let next = hands.two.request("system.ping", &json!({})).remove(0);
    hands.data.carry(hands.two.lane, next).await;
    assert_eq!(hands.data.closed(hands.two.lane).await, CRYPTO);
    let mut next = hands.data.client(&hands.attempt, 3).await;
    assert!(next.is_served(&mut hands.data).await);
}

#[tokio::test]
async fn bx_3_a_recorded_handshake_played_again_changes_nothing() {
    let mut hands = Hands::new().await;
    let sessions = hands.daemon.session_count().await;
    let lane = Lane::new(9);
    let (_, message) = hands.attempt.message_1();
    for lane in [lane, Lane::new(10)] {
        hands.data.say(LaneFrame::Open { lane }).await;
        hands.data.carry(lane, message.clone()).await;
        // An answer that only the device can read.
        hands.data.hear_on(lane).await.unwrap();
    }
    let attached = |daemon: &TestDaemon| {
        let rows = daemon.connections();
        rows.iter().filter(|row| row.kind.is_some()).count()
    };
    assert_eq!(attached(&hands.daemon), 2, "nothing is attached by that");
    assert_eq!(hands.daemon.session_count().await, sessions);
    hands.data.carry(lane, b"and now?".to_vec()).await;
    assert_eq!(hands.data.closed(lane).await, CRYPTO);
}

#[tokio::test]
async fn rl_1_a_relay_sees_no_word_of_what_it_carries() {
    let mut hands = Hands::new().await;
    let marker = "a very secret word";
    let params = json!({ "text": marker });
    let answer = hands.one.call(&mut hands.data, "test.echo", &params).await;
    assert_eq!(answer.unwrap()["result"]["text"], marker);
    let seen = String::from_utf8_lossy(&hands.data.seen).into_owned();
    let device = hands.attempt.install.device_id();
    for word in [
        marker,
        "test.echo",
        "jsonrpc",
        "clientSessionKey",
        "csk_",
        "ok\":true",
        device.as_str(),
        hands.attempt.install.session.as_str(),
    ] {
        assert!(!seen.contains(word), "the relay saw `{word}`");
    }
}

#[tokio::test]
async fn a_relay_that_breaks_the_rules_of_lanes_loses_the_data_socket_and_gets_a_new_one() {
    for wrong in [
        vec![0],
        vec![9, 0, 0, 0, 1],
        vec![0, 0, 0, 0, 1],
        vec![0, 0, 0, 0, 7, 1],
        vec![2, 0, 0, 0, 1],
    ] {
        let mut hands = Hands::new().await;
        hands.data.say_bytes(Bytes::from(wrong.clone())).await;
        assert_eq!(hands.data.ended().await, Some(BAD), "{wrong:?}");
        hands.daemon.quiet().await;
        let mut data = hands.fake.data().await;
        let mut client = data.client(&hands.attempt, 1).await;
        assert!(client.is_served(&mut data).await);
    }
}

#[tokio::test]
async fn a_relay_that_breaks_the_rules_of_registration_is_left_and_tried_again() {
    let mut hands = Hands::new().await;
    for wrong in ["no json", "[]", r#"{"type":"sync","sessions":["x"]}"#] {
        hands.control.say_text(wrong).await;
        hands.control = hands.fake.registered().await;
        registered(&hands.daemon, 0).await;
    }
    // News before the registration.
    let mut control = hands.fake_after_close().await;
    control.sync(&[]).await;
    assert_eq!(control.ended().await, Some(BAD));
    // What a later relay may say is no fault.
    let mut control = hands.fake.registered().await;
    control.say_text(r#"{"type":"news","of":"tomorrow"}"#).await;
    control.sync(&[]).await;
    registered(&hands.daemon, 0).await;
}

impl Hands {
    /// The control socket after this one was closed, not yet registered.
    async fn fake_after_close(&mut self) -> FakeControl {
        self.control.close(1001, "").await;
        self.fake.control().await
    }
}

#[tokio::test]
async fn rl_4_a_relay_cannot_flood_a_daemon_with_sessions_or_lanes() {
    let mut hands = Hands::new().await;
    for lane in 100..400 {
        let lane = Lane::new(lane);
        hands.data.say(LaneFrame::Open { lane }).await;
    }
    let mut closed = 0;
    while closed < 200 {
        if let LaneFrame::Close { code, .. } = hands.data.hear().await {
            assert_eq!(code, 4421);
            closed += 1;
        }
    }
    assert!(hands.daemon.connections().len() <= 64);
    assert!(hands.one.is_served(&mut hands.data).await);
    // Sessions that there are not: data sockets for as many as strangers may have, and the real one
    // goes on.
    let server = hands.daemon.daemon.server_id().clone();
    for _ in 0..1_500 {
        let session = Install::new().route(&server);
        hands
            .control
            .say(&RelayMessage::SessionOpened { session })
            .await;
    }
    eventually("the sessions are counted", async || {
        shown(&hands.daemon, 0).sessions >= 32
    })
    .await;
    assert!(shown(&hands.daemon, 0).sessions <= 33);
    assert!(hands.two.is_served(&mut hands.data).await);
}

#[tokio::test]
async fn bx_3_whoever_answers_for_an_absent_daemon_is_found_out() {
    let hands = Hands::new().await;
    // The relay answers itself, with keys of its own; the device pinned the daemon's.
    let (initiator, message) = hands.attempt.message_1();
    let impostor = bowline_protocol::TransportKey::from_private([5; 32]);
    let mut responder =
        bowline_protocol::seal::Responder::new(&impostor, hands.daemon.daemon.server_id()).unwrap();
    assert!(
        responder.read_hello(&message).is_err(),
        "it cannot even read it"
    );
    let forged: Value = json!({"ok": true});
    let read = initiator.read_welcome(forged.to_string().as_bytes(), 65_536);
    assert!(read.is_err());
}
