//! One `DaemonClient` and a daemon's end that follows a script.

use std::{sync::Arc, time::Duration};

use bowline_machines::{
    Generation, Path,
    client::{ClientConfig, State},
};
use bowline_protocol::{
    ClientSessionKey, DeviceKey, Reason, Resume, SessionEvent, SessionState, Welcome,
    handshake::{Accepted, ClientInfo, SessionWelcome, WelcomeLimits},
    methods::name,
    rpc::{self, Incoming, Text},
    session_event::Sequenced,
};
use bowline_runtime::{
    CallError,
    client::{ClientEvent, Cursor, DaemonClient, Dialer},
    transport::{Target, link::Credentials},
};
use serde_json::{Value, json, value::RawValue};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{
    net::{End, Net},
    rig::{LONG, direct, epoch, server_id, transport_key},
    serving::Peer,
};

struct Bench {
    client: DaemonClient,
    inbox: mpsc::Receiver<ClientEvent>,
    sockets: mpsc::UnboundedReceiver<End>,
    max_in_flight: u32,
}

impl Bench {
    fn new(inbox: usize) -> Self {
        let net = Net::default();
        let sockets = net.listen("a:1");
        let key = ClientSessionKey::from_random([3; 16]);
        let dialer = Dialer {
            connector: Arc::new(net),
            target: Target {
                address: direct("a:1"),
                server_id: server_id(),
                route_key: key.route_key(&server_id()),
            },
            credentials: Credentials {
                device_key: DeviceKey::from_private([4; 32]),
                transport_key: transport_key().public(),
            },
            client_session_key: key,
            client: ClientInfo {
                name: "test".into(),
                version: "0".into(),
                platform: "test".into(),
            },
            cursor: Cursor::default(),
            pairing_token: None,
        };
        let config = ClientConfig::new(Path::Direct, 1);
        let (owner, inbox) = mpsc::channel(inbox);
        let client = DaemonClient::spawn(dialer, config, Generation::ZERO, owner);
        client.ensure_connected();
        Self {
            client,
            inbox,
            sockets,
            max_in_flight: 8,
        }
    }

    /// The next connection, up to `session.ready`, welcomed into that epoch.
    async fn accept(&mut self, of_epoch: u8) -> Peer {
        let end = timeout(LONG, self.sockets.recv()).await.unwrap().unwrap();
        let welcome = Welcome::Accepted(Accepted {
            server_id: server_id(),
            server_name: "test".into(),
            version: "0".into(),
            session: Some(SessionWelcome {
                state: SessionState::New,
                epoch: epoch(of_epoch),
                next_seq: 1,
                stamp: None,
            }),
            heartbeat_ms: 4_000,
            limits: WelcomeLimits {
                max_message_bytes: 1 << 20,
                max_in_flight: self.max_in_flight,
            },
            capabilities: Vec::new(),
        });
        let accepted = Peer::accept(end, &transport_key(), |_, _| welcome).await;
        let mut peer = accepted.unwrap();
        assert_eq!(said(&peer.hear().await.unwrap()).0, name::SESSION_READY);
        peer
    }

    async fn event(&mut self) -> ClientEvent {
        timeout(LONG, self.inbox.recv()).await.unwrap().unwrap()
    }

    async fn until_state(&mut self, name: &str) -> State {
        loop {
            if let ClientEvent::State { state, .. } = self.event().await
                && state.name() == name
            {
                return state;
            }
        }
    }
}

/// Method, id and parameters of what a client said.
fn said(text: &[u8]) -> (String, Option<u64>, Value) {
    let (method, id, params) = match rpc::parse(text).unwrap() {
        Text::Single(Incoming::Request(one)) => (one.method, one.id.as_u64(), one.params),
        Text::Single(Incoming::Notification(one)) => (one.method, None, one.params),
        other => panic!("{other:?}"),
    };
    let params = serde_json::from_str(params.unwrap().get()).unwrap();
    (method.into_owned(), id, params)
}

fn event(seq: u64) -> Vec<u8> {
    let event = Sequenced {
        seq,
        event: SessionEvent::AgentRemoved {
            agent_id: crate::rig::agent_id(1),
        },
    };
    let mut text = Vec::new();
    rpc::write_notification(&mut text, name::SESSION_EVENT, &event).unwrap();
    text
}

fn nothing() -> Box<RawValue> {
    RawValue::from_string("{}".into()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn sv_2_what_a_dying_connection_brought_is_told_before_its_end() {
    let mut bench = Bench::new(64);
    let mut peer = bench.accept(1).await;
    bench.until_state("connected").await;
    peer.say(&event(1));
    peer.say(&event(2));
    peer.end(Reason::ServerRestarting);
    let ClientEvent::Events(events) = bench.event().await else {
        panic!("the events came first");
    };
    assert_eq!(events.len(), 2);
    let state = bench.until_state("disconnected").await;
    assert_eq!(state.reason(), Some(Reason::ServerRestarting));
}

/// A text that takes a minute to arrive, over a path that is slow and not dead. The answers to pings wait behind it.
#[tokio::test(start_paused = true)]
async fn lesson_16_a_long_message_on_a_slow_path_is_liveness_while_it_arrives() {
    let mut bench = Bench::new(64);
    let mut peer = bench.accept(1).await;
    bench.until_state("connected").await;
    bench.client.network_changed();
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        peer.trickle();
    }
    peer.say(&event(1));
    let ClientEvent::Events(events) = bench.event().await else {
        panic!("the connection was given up");
    };
    assert_eq!(events.len(), 1);
    // And silence is still what it was.
    let began = Instant::now();
    let state = bench.until_state("disconnected").await;
    assert_eq!(state.reason(), Some(Reason::HeartbeatTimeout));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn lesson_19_a_slow_owner_is_no_reason_to_give_up_the_peer() {
    let mut bench = Bench::new(1);
    let mut peer = bench.accept(1).await;
    bench.until_state("connected").await;
    for seq in 1..=3 {
        peer.say(&event(seq));
        sleep(Duration::from_secs(1)).await;
    }
    // The owner does not look at its inbox for a minute; the daemon goes on.
    for seq in 4..=60 {
        peer.say(&event(seq));
        sleep(Duration::from_secs(1)).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 60 {
        match bench.event().await {
            ClientEvent::Events(events) => seen.extend(events.into_iter().map(|one| one.seq)),
            ClientEvent::State { state, .. } => panic!("{state:?}"),
        }
    }
    assert_eq!(seen, (1..=60).collect::<Vec<u64>>());
}

/// Virtual time only moves while nothing runs, so a client that spins would stop it. The test must fail then, not
/// hang: it has a thread of its own.
#[test]
fn inv_12_a_client_that_is_disposed_of_waits_for_its_owner_without_spinning() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let mut bench = Bench::new(1);
            let mut peer = bench.accept(1).await;
            bench.until_state("connected").await;
            for seq in 1..=3 {
                peer.say(&event(seq));
                sleep(Duration::from_millis(10)).await;
            }
            bench.client.dispose(Duration::ZERO);
            sleep(Duration::from_secs(60)).await;
            bench.until_state("disposed").await;
            done.send(()).unwrap();
        });
    });
    let waited = is_done.recv_timeout(Duration::from_secs(20));
    assert!(waited.is_ok(), "virtual time stands still: something spins");
}

#[tokio::test(start_paused = true)]
async fn inv_12_a_request_ends_by_its_deadline_its_turn_included() {
    let mut bench = Bench::new(64);
    bench.max_in_flight = 1;
    let mut peer = bench.accept(1).await;
    let start = Instant::now();
    let (first, second, ()) = tokio::join!(
        bench.client.request("first", nothing()),
        bench.client.request("second", nothing()),
        async {
            // Alive, but without an answer.
            for seq in 1..=14 {
                peer.say(&event(seq));
                sleep(Duration::from_secs(2)).await;
            }
        }
    );
    assert_eq!(first.unwrap_err(), CallError::Timeout);
    assert_eq!(second.unwrap_err(), CallError::Timeout);
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn inv_13_a_dead_peer_ends_the_waiters_and_is_dialled_again() {
    let mut bench = Bench::new(64);
    let mut peer = bench.accept(1).await;
    let client = bench.client.clone();
    let start = Instant::now();
    let asking = tokio::spawn(async move { client.request("question", nothing()).await });
    assert_eq!(said(&peer.hear().await.unwrap()).0, "question");
    let lost = asking.await.unwrap().unwrap_err();
    assert_eq!(lost, CallError::Disconnected(Reason::HeartbeatTimeout));
    // 4 s of silence and two pings of 2 s.
    assert_eq!(start.elapsed().as_secs(), 8);
    bench.accept(1).await;
    bench.until_state("connected").await;
}

#[tokio::test(start_paused = true)]
async fn inv_11_a_drained_client_finishes_what_it_has_and_takes_no_more() {
    let mut bench = Bench::new(64);
    let mut peer = bench.accept(1).await;
    bench.until_state("connected").await;
    let ask = |method: &'static str| {
        let client = bench.client.clone();
        tokio::spawn(async move { client.request(method, nothing()).await })
    };
    let first = ask("first");
    let (method, id, _) = said(&peer.hear().await.unwrap());
    assert_eq!(method, "first");
    bench.client.dispose(Duration::from_secs(5));
    sleep(Duration::from_secs(1)).await;
    let refused = ask("late").await.unwrap().unwrap_err();
    assert_eq!(refused, CallError::NotConnected);
    peer.say(&event(1));
    peer.answer(&rpc::Id::number(id.unwrap()), &json!({"n": 1}));
    assert_eq!(first.await.unwrap().unwrap().get(), r#"{"n":1}"#);
    // Events count to the end, and with nothing in flight there is nothing to wait for.
    assert!(matches!(bench.event().await, ClientEvent::Events(_)));
    bench.until_state("disposed").await;
    assert!(timeout(LONG, peer.hear()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn inv_12_a_drain_ends_at_its_deadline_with_a_typed_reason() {
    let mut bench = Bench::new(64);
    let mut peer = bench.accept(1).await;
    let client = bench.client.clone();
    let asking = tokio::spawn(async move { client.request("question", nothing()).await });
    peer.hear().await.unwrap();
    let start = Instant::now();
    // A later, longer drain does not prolong the first.
    bench.client.dispose(Duration::from_secs(2));
    bench.client.dispose(Duration::from_secs(60));
    let lost = asking.await.unwrap().unwrap_err();
    assert_eq!(lost, CallError::Disconnected(Reason::ClosedLocally));
    assert_eq!(start.elapsed().as_secs(), 2);
    bench.until_state("disposed").await;
}

#[tokio::test(start_paused = true)]
async fn sv_2_an_acknowledgement_of_another_epoch_is_not_sent() {
    let mut bench = Bench::new(64);
    let peer = bench.accept(1).await;
    bench.until_state("connected").await;
    peer.end(Reason::ServerRestarting);
    let mut peer = bench.accept(2).await;
    let cursor = |of, last_seq| Resume {
        epoch: epoch(of),
        last_seq,
        stamp: None,
    };
    // The owner has not heard yet that another numbering has begun.
    bench.client.ack(cursor(1, 500));
    sleep(Duration::from_millis(100)).await;
    bench.client.ack(cursor(2, 7));
    let (method, _, params) = said(&peer.hear().await.unwrap());
    assert_eq!(
        (method.as_str(), &params),
        (name::SESSION_ACK, &json!({"seq": 7}))
    );
}
