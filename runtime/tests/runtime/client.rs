//! One `ClientHandle` against a scripted daemon.

use std::{sync::Arc, time::Duration};

use bowline_machines::{
    Generation, Path,
    client::connection::{ClientConfig, State},
};
use bowline_protocol::{
    ClientSessionKey, DeviceKey, Reason, Resume, RouteKey, SessionEvent, SessionState, Welcome,
    handshake::ClientInfo,
    methods::name,
    rpc::{self, Incoming, Text},
    session_event::Sequenced,
};
use bowline_runtime::{
    CallError,
    client::{ClientEvent, ClientHandle, Cursor, Dialer},
    transport::{Target, link::Credentials},
};
use bowline_testkit::peer::{Keys, Peer, Replay, accepted, answer};
use serde_json::{Value, json, value::RawValue};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{
    net::{End, Net},
    rig::{LONG, direct, epoch, keys, server_id, transport_key},
};

struct Bench {
    client: ClientHandle,
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
                route_key: RouteKey::of_device(
                    &DeviceKey::from_private([4; 32]).public(),
                    &server_id(),
                ),
            },
            credentials: Credentials {
                device_key: DeviceKey::from_private([4; 32]),
                transport_key: transport_key().public(),
                psk: Keys::STORED,
            },
            client_session_key: key,
            client: ClientInfo {
                name: "test".into(),
                version: "0".into(),
                platform: "test".into(),
            },
            cursor: Cursor::default(),
            pairing: None,
        };
        let config = ClientConfig::new(Path::Direct, 1);
        let (owner, inbox) = mpsc::channel(inbox);
        let client = ClientHandle::spawn(dialer, config, Generation::ZERO, owner);
        client.ensure_connected();
        Self {
            client,
            inbox,
            sockets,
            max_in_flight: 8,
        }
    }

    /// Accepts the next connection up to `session.ready`, with a welcome of that epoch.
    async fn accept(&mut self, of_epoch: u8) -> Peer<End> {
        let end = timeout(LONG, self.sockets.recv()).await.unwrap().unwrap();
        let session = Replay::new(epoch(of_epoch), 0).welcome(SessionState::New);
        let mut welcome = accepted(server_id(), "test", Some(session));
        welcome.limits.max_in_flight = self.max_in_flight;
        let welcome = |_: &_| Some(Welcome::Accepted(welcome));
        let peer = Peer::accept(end, &keys(), welcome).await;
        let mut peer = peer.ok().unwrap();
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

/// Method, id and parameters of a client's message.
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
    peer.close(Reason::ServerRestarting);
    let ClientEvent::Events(events) = bench.event().await else {
        panic!("the events came first");
    };
    assert_eq!(events.len(), 2);
    let state = bench.until_state("disconnected").await;
    assert_eq!(state.reason(), Some(Reason::ServerRestarting));
}

/// A message that takes a minute to arrive, over a slow but working path. Pongs wait behind it.
#[tokio::test(start_paused = true)]
async fn ls_16_a_long_message_on_a_slow_path_is_liveness_while_it_arrives() {
    let mut bench = Bench::new(64);
    let mut peer = bench.accept(1).await;
    bench.until_state("connected").await;
    bench.client.network_changed();
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        peer.socket().trickle(100);
    }
    peer.say(&event(1));
    let ClientEvent::Events(events) = bench.event().await else {
        panic!("the connection was given up");
    };
    assert_eq!(events.len(), 1);
    // The timeout for silence is unchanged.
    let began = Instant::now();
    let state = bench.until_state("disconnected").await;
    assert_eq!(state.reason(), Some(Reason::HeartbeatTimeout));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn ls_19_a_slow_owner_is_no_reason_to_give_up_the_peer() {
    let mut bench = Bench::new(1);
    let mut peer = bench.accept(1).await;
    bench.until_state("connected").await;
    for seq in 1..=3 {
        peer.say(&event(seq));
        sleep(Duration::from_secs(1)).await;
    }
    // The owner does not read its inbox for a minute while the daemon sends.
    for seq in 4..=60 {
        peer.say(&event(seq));
        sleep(Duration::from_secs(1)).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 60 {
        match bench.event().await {
            ClientEvent::Events(events) => seen.extend(events.into_iter().map(|one| one.seq)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (1..=60).collect::<Vec<u64>>());
}

/// Virtual time advances only while nothing runs, so a spinning client would stop it. The test then
/// fails instead of hanging: it runs on a separate thread.
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
            bench.client.dispose(Duration::ZERO, Reason::ClosedLocally);
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

/// More than a client's queue holds wait behind one that is not answered; some are made later.
#[tokio::test(start_paused = true)]
async fn inv_12_each_of_many_calls_ends_by_its_own_deadline() {
    const CALLS: u64 = 400;
    let mut bench = Bench::new(64);
    bench.max_in_flight = 1;
    let mut peer = bench.accept(1).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..CALLS {
        let client = bench.client.clone();
        calls.spawn(async move {
            sleep(Duration::from_secs(n % 3)).await;
            let start = Instant::now();
            let ended = client.request("question", nothing()).await;
            (ended.unwrap_err(), start.elapsed().as_secs())
        });
    }
    let (ended, ()) = tokio::join!(calls.join_all(), async {
        for seq in 1..=17 {
            peer.say(&event(seq));
            sleep(Duration::from_secs(2)).await;
        }
    });
    assert_eq!(ended.len() as u64, CALLS);
    let all_in_time = ended.iter().all(|one| *one == (CallError::Timeout, 30));
    assert!(all_in_time, "{ended:?}");
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
    bench
        .client
        .dispose(Duration::from_secs(5), Reason::ClosedLocally);
    sleep(Duration::from_secs(1)).await;
    let refused = ask("late").await.unwrap().unwrap_err();
    assert_eq!(refused, CallError::NotConnected);
    peer.say(&event(1));
    peer.say(&answer(&rpc::Id::number(id.unwrap()), &Ok(json!({"n": 1}))));
    assert_eq!(first.await.unwrap().unwrap().get(), r#"{"n":1}"#);
    // Events count until the end; with nothing in flight there is no wait.
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
    // A later, longer drain does not extend the first.
    bench
        .client
        .dispose(Duration::from_secs(2), Reason::ClosedLocally);
    bench
        .client
        .dispose(Duration::from_secs(60), Reason::ClosedLocally);
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
    peer.close(Reason::ServerRestarting);
    let mut peer = bench.accept(2).await;
    let cursor = |of, last_seq| Resume {
        epoch: epoch(of),
        last_seq,
        stamp: None,
    };
    // The owner has not received the change of epoch yet.
    bench.client.ack(cursor(1, 500));
    sleep(Duration::from_millis(100)).await;
    bench.client.ack(cursor(2, 7));
    let (method, _, params) = said(&peer.hear().await.unwrap());
    assert_eq!(
        (method.as_str(), &params),
        (name::SESSION_ACK, &json!({"seq": 7}))
    );
}
