//! Bytes from clients to their daemon and back (RL-1, RL-2, RL-3).

use bowline_protocol::{
    identity::random_bytes,
    relay::{Lane, LaneFrame},
};
use bytes::Bytes;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data as OpData, OpCode},
        },
    },
};

use crate::peers::{Daemon, Pair, client, dial_data, identity, route, start, status, within};

/// Bytes of no protocol, which the relay must forward unchanged.
fn noise(len: usize) -> Bytes {
    let seed: [u8; 8] = random_bytes().unwrap();
    let mut state = u64::from_ne_bytes(seed) | 1;
    let bytes = (0..len).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.collect()
}

#[tokio::test]
async fn rl_1_any_bytes_of_any_length_pass_unchanged_both_ways() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let lengths = [
        0, 1, 2, 119, 120, 121, 125, 126, 127, 1_000, 65_529, 65_530, 65_535,
    ];
    for len in lengths {
        let up = noise(len);
        pair.client.send(Message::Binary(up.clone())).await;
        assert_eq!(pair.data.heard().await, (pair.lane, up), "{len} up");
        let down = noise(len);
        pair.data.send(pair.lane, down.clone()).await;
        assert_eq!(pair.client.binary().await, down, "{len} down");
    }
}

#[tokio::test]
async fn rl_1_order_is_kept_when_many_messages_travel_at_once() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let Pair {
        mut client,
        mut data,
        lane,
        ..
    } = daemon.pair().await;
    let sent: Vec<_> = (0..2_000).map(|n| noise(n * 7 % 3_000)).collect();
    let expected = sent.clone();
    let up = tokio::spawn(async move {
        for message in sent {
            client.send(Message::Binary(message)).await;
        }
        client
    });
    for message in &expected {
        assert_eq!(data.heard().await, (lane, message.clone()));
    }
    let mut client = up.await.unwrap();
    let sent = expected.clone();
    let down = tokio::spawn(async move {
        for message in sent {
            data.send(lane, message).await;
        }
        data
    });
    for message in &expected {
        assert_eq!(&client.binary().await, message);
    }
    down.await.unwrap();
}

#[tokio::test]
async fn a_message_in_fragments_arrives_as_one() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let piece = |opcode, fin, text: &'static str| {
        Message::Frame(Frame::message(text, OpCode::Data(opcode), fin))
    };
    pair.client.send(piece(OpData::Binary, false, "one ")).await;
    pair.client.send(Message::Ping(Bytes::new())).await;
    pair.client
        .send(piece(OpData::Continue, false, "two "))
        .await;
    pair.client
        .send(piece(OpData::Continue, true, "three"))
        .await;
    assert_eq!(pair.data.heard().await.1, "one two three");
}

#[tokio::test]
async fn rl_2_sessions_are_announced_when_their_first_client_comes_and_the_last_goes() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let second = client(address, &daemon.server, &pair.session).await;
    let second_lane = pair.data.opened().await;
    assert_ne!(second_lane, pair.lane);
    drop(second);
    assert_eq!(pair.data.closed().await, (second_lane, 1006));
    // The next event is about another session: the second client of this one caused none.
    let other = route(&daemon.server);
    let _other = client(address, &daemon.server, &other).await;
    assert_eq!(daemon.control.opened().await, other);
    drop(pair.client);
    assert_eq!(pair.data.closed().await, (pair.lane, 1006));
    assert_eq!(daemon.control.closed().await, pair.session);
    assert_eq!(
        pair.data.0.end_code().await,
        1000,
        "there is nothing left to carry"
    );
}

/// RL-3: each client socket is a lane of its own, and a new one never replaces an old one.
#[tokio::test]
async fn rl_3_many_client_sockets_of_one_session_live_side_by_side() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let mut clients = vec![(pair.lane, pair.client)];
    for _ in 1..8 {
        let client = client(address, &daemon.server, &pair.session).await;
        clients.push((pair.data.opened().await, client));
    }
    let mut lanes: Vec<_> = clients.iter().map(|(lane, _)| *lane).collect();
    lanes.sort();
    lanes.dedup();
    assert_eq!(lanes.len(), 8, "each has a number of its own");
    for (lane, client) in &mut clients {
        client.send(Message::binary(format!("from {lane}"))).await;
        assert_eq!(
            pair.data.heard().await,
            (*lane, format!("from {lane}").into())
        );
    }
    for (lane, _) in &clients {
        pair.data.send(*lane, format!("to {lane}")).await;
    }
    for (lane, client) in &mut clients {
        assert_eq!(client.binary().await, format!("to {lane}"));
    }
    // A closing lane affects no other, and its number is not used again.
    let (gone, first) = clients.remove(0);
    drop(first);
    assert_eq!(pair.data.closed().await, (gone, 1006));
    let late = client(address, &daemon.server, &pair.session).await;
    let late_lane = pair.data.opened().await;
    assert!(!lanes.contains(&late_lane));
    clients.push((late_lane, late));
    for (lane, client) in &mut clients {
        pair.data.send(*lane, "still here").await;
        assert_eq!(client.binary().await, "still here");
    }
}

#[tokio::test]
async fn close_codes_pass_both_ways() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let mut other = client(address, &daemon.server, &pair.session).await;
    let lane = pair.data.opened().await;
    let frame = LaneFrame::Close { lane, code: 4402 };
    pair.data.say(frame).await;
    assert_eq!(other.ended().await, (4402, "device_revoked".to_owned()));

    let close = CloseFrame {
        code: CloseCode::from(4440),
        reason: "".into(),
    };
    pair.client.send(Message::Close(Some(close))).await;
    assert_eq!(pair.data.closed().await, (pair.lane, 4440));
    assert_eq!(pair.client.end_code().await, 4440, "the closing handshake");
}

#[tokio::test]
async fn a_close_code_that_may_not_be_sent_becomes_a_normal_one() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    for code in [0, 1005, 1006, 2_000, 60_000] {
        let mut pair = daemon.pair().await;
        let lane = pair.lane;
        pair.data.say(LaneFrame::Close { lane, code }).await;
        assert_eq!(pair.client.end_code().await, 1000, "{code}");
        assert_eq!(daemon.control.closed().await, pair.session);
    }
}

#[tokio::test]
async fn everything_that_was_sent_before_a_close_arrives_before_it() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let lane = pair.lane;
    for n in 0..100_u8 {
        pair.data.send(lane, vec![n; 10_000]).await;
    }
    pair.data.say(LaneFrame::Close { lane, code: 4450 }).await;
    for n in 0..100_u8 {
        assert_eq!(pair.client.binary().await, vec![n; 10_000]);
    }
    assert_eq!(pair.client.end_code().await, 4450);
}

#[tokio::test]
async fn frames_for_a_lane_that_is_gone_are_dropped_and_wrong_frames_end_the_data_socket() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let nobody = Lane::new(99);
    pair.data.send(nobody, "x").await;
    let close = LaneFrame::Close {
        lane: nobody,
        code: 4404,
    };
    pair.data.say(close).await;
    pair.data.send(pair.lane, "for somebody").await;
    assert_eq!(pair.client.binary().await, "for somebody");

    let open = LaneFrame::Open { lane: nobody }.encode();
    for wrong in [
        Message::Binary(open),
        Message::binary(vec![1, 0, 0]),
        Message::binary(vec![9, 0, 0, 0, 1]),
        Message::binary(vec![2, 0, 0, 0, 1, 0]),
        Message::text("x"),
    ] {
        let mut pair = daemon.pair().await;
        pair.data.0.send(wrong).await;
        assert_eq!(pair.data.0.end_code().await, 4400);
        assert_eq!(pair.client.end_code().await, 4404);
        assert_eq!(daemon.control.closed().await, pair.session);
    }
}

#[tokio::test]
async fn daemons_and_sessions_never_mix() {
    let (_relay, address) = start(|_| {}).await;
    let (mut one, mut two) = (
        Daemon::register(address).await,
        Daemon::register(address).await,
    );
    // The same route key at two daemons: two sessions.
    let session = route(&one.server);
    let mut client_one = client(address, &one.server, &session).await;
    let mut client_two = client(address, &two.server, &session).await;
    assert_eq!(one.control.opened().await, session);
    assert_eq!(two.control.opened().await, session);
    let mut data_one = one.data(&session).await;
    let mut data_two = two.data(&session).await;
    let (lane_one, lane_two) = (data_one.opened().await, data_two.opened().await);
    data_one.send(lane_one, "one").await;
    data_two.send(lane_two, "two").await;
    assert_eq!(client_one.binary().await, "one");
    assert_eq!(client_two.binary().await, "two");

    // A token opens data sockets for its own daemon's sessions only.
    let session = route(&one.server);
    let _waiting = client(address, &one.server, &session).await;
    assert_eq!(one.control.opened().await, session);
    assert_eq!(status(two.dial(&session).await), 404);
    let stray = bowline_protocol::relay::DataToken::random().unwrap();
    assert_eq!(status(dial_data(address, &stray, &session).await), 401);
    assert_eq!(
        status(one.dial(&route(&one.server)).await),
        404,
        "no such session"
    );
}

#[tokio::test]
async fn a_second_data_socket_of_the_daemon_takes_over_and_clients_begin_again() {
    let (_relay, address) = start(|_| {}).await;
    let owner = identity();
    let mut daemon = Daemon::register_as(address, &owner).await;
    let mut pair = daemon.pair().await;
    let mut second = daemon.data(&pair.session).await;
    assert_eq!(pair.data.0.end_code().await, 4430);
    assert_eq!(
        pair.client.end_code().await,
        4404,
        "what it had agreed with the first is void"
    );
    assert_eq!(second.0.end_code().await, 1000, "nobody is left");
    assert_eq!(daemon.control.closed().await, pair.session);
    // The client reconnects at once, and everything works as at first.
    let mut back = client(address, &daemon.server, &pair.session).await;
    assert_eq!(daemon.control.opened().await, pair.session);
    let mut data = daemon.data(&pair.session).await;
    let lane = data.opened().await;
    data.send(lane, "again").await;
    assert_eq!(back.binary().await, "again");
}

#[tokio::test]
async fn pings_of_clients_and_daemons_are_answered() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    for socket in [
        &mut pair.client,
        &mut pair.data.0,
        &mut daemon.control.socket,
    ] {
        let ping = Message::Ping(Bytes::from_static(b"are you there"));
        socket.send(ping).await;
        let answer = within("a pong", futures_util::StreamExt::next(&mut socket.0)).await;
        let pong = Message::Pong(Bytes::from_static(b"are you there"));
        assert_eq!(answer.unwrap().unwrap(), pong);
    }
}
