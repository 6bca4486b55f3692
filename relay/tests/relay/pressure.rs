//! Receivers that do not read: which peers wait, which are closed, and the memory used (RL-4,
//! LS-19).

use std::time::{Duration, Instant};

use bowline_protocol::relay::{
    Lane, LaneFrame,
    limits::{LANE_STALL, SOCKET_STALL},
};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::peers::{Daemon, Data, Pair, Socket, client, start, within};

pub(crate) const MESSAGE: usize = 32 * 1024;
/// More than the kernel buffers by itself.
const FLOOD: usize = 64 << 20;

/// A message that contains its position.
pub(crate) fn numbered(n: u32) -> Vec<u8> {
    let mut message = vec![n as u8; MESSAGE];
    message[..4].copy_from_slice(&n.to_be_bytes());
    message
}

pub(crate) fn number(message: &[u8]) -> u32 {
    assert_eq!(message.len(), MESSAGE);
    assert!(message[4..].iter().all(|byte| *byte == message[3]));
    u32::from_be_bytes(message[..4].try_into().unwrap())
}

/// Sends until no more is taken for a while; returns the number of messages.
pub(crate) async fn send_until_held_back(
    socket: &mut Socket,
    message: impl Fn(u32) -> Message,
) -> u32 {
    let mut sent = 0;
    loop {
        let sending = socket.0.feed(message(sent));
        match tokio::time::timeout(Duration::from_millis(500), sending).await {
            Ok(fed) => fed.unwrap(),
            Err(_) => return sent,
        }
        let flushing = socket.0.flush();
        if tokio::time::timeout(Duration::from_millis(500), flushing)
            .await
            .is_err()
        {
            // It is in the socket's own buffer, and is sent when there is room.
            return sent + 1;
        }
        sent += 1;
        assert!(
            (sent as usize) * MESSAGE < FLOOD,
            "nobody holds the sender back"
        );
    }
}

pub(crate) fn frame(lane: Lane, n: u32) -> Message {
    let payload = numbered(n).into();
    Message::Binary(LaneFrame::Data { lane, payload }.encode())
}

/// A client that stops reading blocks its daemon, and receives everything when it reads again.
#[tokio::test]
async fn a_client_that_stops_reading_holds_the_sender_back_and_loses_nothing() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let Pair {
        mut client,
        mut data,
        lane,
        ..
    } = daemon.pair().await;
    let mut other = daemon.pair().await;
    let sent = send_until_held_back(&mut data.0, |n| frame(lane, n)).await;
    assert!(sent > 0);

    // Another session of the same daemon is unaffected.
    for n in 0..50_u32 {
        other.data.send(other.lane, n.to_be_bytes().to_vec()).await;
        assert_eq!(other.client.binary().await, n.to_be_bytes().to_vec());
        other
            .client
            .send(Message::binary(n.to_be_bytes().to_vec()))
            .await;
        other.data.heard().await;
    }
    // Longer than a lane with neighbours may stall.
    tokio::time::sleep(Duration::from_millis(1_500)).await;

    let flushing = tokio::spawn(async move {
        data.0.0.flush().await.unwrap();
        data
    });
    for n in 0..sent {
        assert_eq!(number(&client.binary().await), n, "of {sent}");
    }
    let mut data = flushing.await.unwrap();
    data.send(lane, "and it goes on").await;
    assert_eq!(client.binary().await, "and it goes on");
}

#[tokio::test]
async fn a_daemon_that_stops_reading_holds_its_clients_back_and_loses_nothing() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let Pair {
        session,
        client: mut one,
        mut data,
        lane,
    } = daemon.pair().await;
    let mut two = client(address, &daemon.server, &session).await;
    let other = data.opened().await;
    let sent = send_until_held_back(&mut one, |n| Message::binary(numbered(n))).await;
    // Messages of the second wait too: there is one data socket.
    two.send(Message::binary("patience")).await;
    // The opposite direction is free.
    data.send(lane, "downward").await;
    assert_eq!(one.binary().await, "downward");

    let flushing = tokio::spawn(async move {
        one.0.flush().await.unwrap();
        one
    });
    let (mut next, mut heard) = (0, false);
    while next < sent || !heard {
        let (from, payload) = data.heard().await;
        if from == lane {
            assert_eq!(number(&payload), next);
            next += 1;
        } else {
            assert_eq!((from, &*payload), (other, &b"patience"[..]));
            heard = true;
        }
    }
    flushing.await.unwrap();
}

/// One data socket serves all lanes, so a stalled one is closed before it blocks its neighbours for
/// a second. (The test allows for slow machines: it distinguishes this from the time of a lane
/// without neighbours.)
#[tokio::test]
async fn rl_4_a_stalled_lane_is_closed_before_its_neighbours_wait_for_a_second() {
    const { assert!(LANE_STALL.as_millis() < 1_000 && SOCKET_STALL.as_secs() > 20) };
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let mut neighbour = client(address, &daemon.server, &pair.session).await;
    let near = pair.data.opened().await;
    let (mut data, longest) = flood_until_closed(pair.data, pair.lane, near, &mut neighbour).await;
    assert!(
        longest < Duration::from_secs(10),
        "the neighbour waited for {longest:?}"
    );
    // The stalled client lost only its own socket, and sees the reason when it reads.
    let mut n = 0;
    let code = loop {
        match pair.client.next().await {
            Some(Message::Binary(message)) => {
                assert_eq!(number(&message), n);
                n += 1;
            }
            Some(Message::Close(Some(frame))) => break u16::from(frame.code),
            other => panic!("{other:?} after {n}"),
        }
    };
    assert_eq!(code, 4420);
    data.send(near, "go on").await;
    assert_eq!(neighbour.binary().await, "go on");
}

/// Floods one lane, whose client does not read, and sends to its neighbour in between, until the
/// relay closes the lane. Also returns the longest time of a message to the neighbour.
async fn flood_until_closed(
    data: Data,
    stalled: Lane,
    near: Lane,
    neighbour: &mut Socket,
) -> (Data, Duration) {
    let (mut sink, mut stream) = data.0.0.split();
    let closing = tokio::spawn(async move {
        let message = stream.next().await.unwrap().unwrap();
        let frame = LaneFrame::decode(message.into_data()).unwrap();
        (frame, stream)
    });
    let mut longest = Duration::ZERO;
    let mut n = 0_u32;
    while !closing.is_finished() {
        assert!((n as usize) * MESSAGE < FLOOD, "the lane was never closed");
        let since = Instant::now();
        let speaking = async {
            sink.send(frame(stalled, n)).await.unwrap();
            let word = LaneFrame::Data {
                lane: near,
                payload: n.to_be_bytes().to_vec().into(),
            };
            sink.send(Message::Binary(word.encode())).await.unwrap();
            neighbour.binary().await
        };
        let heard = within("a word to the neighbour", speaking).await;
        assert_eq!(heard, n.to_be_bytes().to_vec());
        longest = longest.max(since.elapsed());
        n += 1;
    }
    let (frame, stream) = closing.await.unwrap();
    let closed = LaneFrame::Close {
        lane: stalled,
        code: 4420,
    };
    assert_eq!(frame, closed);
    (Data(Socket(sink.reunite(stream).unwrap())), longest)
}

/// A later neighbour does not wait for a lane that has been stalled before.
#[tokio::test]
async fn a_lane_that_stalled_alone_gives_way_when_a_neighbour_comes() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let lane = pair.lane;
    send_until_held_back(&mut pair.data.0, |n| frame(lane, n)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut neighbour = client(address, &daemon.server, &pair.session).await;
    let flushing = pair.data.0.0.flush();
    within("room", flushing).await.unwrap();
    let near = pair.data.opened().await;
    assert_eq!(pair.data.closed().await, (lane, 4420));
    pair.data.send(near, "your turn").await;
    assert_eq!(neighbour.binary().await, "your turn");
}

/// Resident memory of a process in KiB.
#[cfg(target_os = "linux")]
fn resident(program: &crate::program::Running) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

/// A quiet socket holds no buffers: at most 7 KiB each, and 6 MiB for the program without sockets.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn quiet_sockets_cost_little() {
    const SESSIONS: usize = 200;
    let unlimited = ["--opens-per-minute", "0"];
    let program = crate::program::Running::start(&unlimited);
    let mut daemon = Daemon::register(program.address()).await;
    let mut pairs = vec![daemon.pair().await];
    let before = resident(&program);
    for _ in 0..SESSIONS {
        let mut pair = daemon.pair().await;
        pair.data.send(pair.lane, vec![1; 60_000]).await;
        pair.client.binary().await;
        pair.client.send(Message::binary(vec![1; 60_000])).await;
        pair.data.heard().await;
        pairs.push(pair);
    }
    let each = resident(&program).saturating_sub(before) * 1024 / (2 * SESSIONS);
    assert!(each < 7 * 1024, "{each} bytes a socket");
}

/// RSS of the real program while a receiver stops reading: constant within 2 MiB.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_stays_flat_while_a_receiver_does_not_read() {
    let program = crate::program::Running::start(&[]);
    let mut daemon = Daemon::register(program.address()).await;
    let mut pair = daemon.pair().await;
    // Warm-up: the thread's own buffers are allocated.
    for n in 0..20 {
        pair.data.0.send(frame(pair.lane, n)).await;
        pair.client.binary().await;
    }
    let before = resident(&program);
    let lane = pair.lane;
    let sent = send_until_held_back(&mut pair.data.0, |n| frame(lane, n)).await;
    let grown = resident(&program).saturating_sub(before);
    assert!(grown < 2_048, "{grown} KiB more after {sent} messages");
}

/// A peer that asks without end and reads no answer is not kept for what it says.
#[tokio::test]
async fn tr_8_peers_that_only_speak_are_dropped_after_the_stall_time() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let Pair {
        client, mut data, ..
    } = daemon.pair().await;
    let only_speaks = async |mut socket: Socket| {
        let begun = Instant::now();
        loop {
            let mut sending = Ok(());
            for _ in 0..100 {
                sending = socket.0.feed(Message::Ping(vec![7; 125].into())).await;
            }
            let flushing = tokio::time::timeout(Duration::from_secs(1), socket.0.flush()).await;
            if sending.is_err() || matches!(flushing, Ok(Err(_))) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < 2 * SOCKET_STALL, "it is kept for ever");
        }
    };
    let reads = async {
        // The daemon goes on reading, so that only the client stalls.
        while data.0.0.next().await.is_some() {}
    };
    let dropped = tokio::select! {
        dropped = async { tokio::join!(only_speaks(client), only_speaks(daemon.control.socket)) } => dropped,
        () = async { reads.await; std::future::pending().await } => unreachable!(),
    };
    println!("client and daemon dropped after {dropped:?}");
}
