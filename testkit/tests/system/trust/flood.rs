//! TR-8: a relay can only deny. A hostile relay floods a daemon with all that a relay may send, and is
//! dropped if it only speaks and never reads.
#![cfg(target_os = "linux")] // Memory is measured there.

use std::{
    io::{ErrorKind, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bowline_protocol::{
    PublicKey, RouteKey, ServerId,
    identity::random_bytes,
    relay::{
        CONTROL_PATH, DaemonMessage, DataToken, Lane, LaneFrame, Nonce, RelayMessage, SUBPROTOCOL,
        limits::{MAX_DATA_MESSAGE, SOCKET_STALL},
    },
};
use bowline_testkit::world::resident;
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message, WebSocket, accept_hdr,
    handshake::server::{Request, Response},
    http::HeaderValue,
};

use crate::cases::rig::{DEADLINE, Rig};

/// How long each flood lasts. Whatever grows with each frame grows by hundreds of megabytes in this
/// time (a million frames a second of some dozen bytes each), so a longer one shows no more.
const FLOOD: Duration = Duration::from_secs(4);
/// By how much the daemon may grow in all.
const MOST: u64 = 16 << 20;

/// Sockets of a daemon at a relay that obeys no rule.
struct Hostile {
    address: SocketAddr,
    controls: mpsc::Receiver<WebSocket<TcpStream>>,
    data: mpsc::Receiver<TcpStream>,
}

impl Hostile {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (control, controls) = mpsc::channel();
        let (some, data) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut path = String::new();
                #[allow(clippy::result_large_err, reason = "as the library wants it")]
                let note = |request: &Request, mut response: Response| {
                    path = request.uri().path().to_owned();
                    let protocol = HeaderValue::from_static(SUBPROTOCOL);
                    let headers = response.headers_mut();
                    headers.insert("sec-websocket-protocol", protocol);
                    Ok(response)
                };
                let Ok(socket) = accept_hdr(stream, note) else {
                    continue;
                };
                let taken = if path == CONTROL_PATH {
                    control.send(socket).is_ok()
                } else {
                    some.send(socket.get_ref().try_clone().unwrap()).is_ok()
                };
                if !taken {
                    return;
                }
            }
        });
        Self {
            address,
            controls,
            data,
        }
    }

    /// A registered daemon's control socket, with clients of these sessions.
    fn registered(&self, sessions: Vec<RouteKey>) -> WebSocket<TcpStream> {
        let mut control = self.controls.recv_timeout(DEADLINE).unwrap();
        let nonce = Nonce::random().unwrap();
        say(&mut control, &RelayMessage::Challenge { nonce });
        let answer = control.read().unwrap().into_text().unwrap();
        let answer: DaemonMessage = serde_json::from_str(&answer).unwrap();
        assert!(matches!(answer, DaemonMessage::Register(_)));
        let registered = RelayMessage::Registered {
            // Nobody answers its pings meanwhile.
            heartbeat_ms: 60_000,
            data_token: DataToken::random().unwrap(),
        };
        say(&mut control, &registered);
        say(&mut control, &RelayMessage::Sync { sessions });
        control
    }

    fn data(&self) -> TcpStream {
        let socket = self.data.recv_timeout(DEADLINE).unwrap();
        socket.set_write_timeout(Some(FLOOD)).unwrap();
        socket
    }
}

fn say(control: &mut WebSocket<TcpStream>, message: &RelayMessage) {
    let json = serde_json::to_string(message).unwrap();
    control.send(Message::text(json)).unwrap();
}

fn routes(count: usize) -> Vec<RouteKey> {
    let server = ServerId::of_public_key(&[1; 32]);
    let key = || PublicKey::from_bytes(random_bytes().unwrap());
    let route = |_| RouteKey::of_device(&key(), &server);
    (0..count).map(route).collect()
}

/// A frame of a server, without a mask.
fn put(into: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    into.extend([0x80 | opcode, u8::try_from(payload.len()).unwrap()]);
    into.extend(payload);
}

/// Reads and drops what comes, so that nothing holds the peer up.
fn drain(socket: &TcpStream) {
    let mut socket = socket.try_clone().unwrap();
    socket.set_read_timeout(None).unwrap();
    thread::spawn(move || std::io::copy(&mut socket, &mut std::io::sink()));
}

/// Writes at full speed for the time of a flood; returns the number of bytes.
fn flood(socket: &mut TcpStream, mut frames: impl FnMut(&mut Vec<u8>)) -> u64 {
    let begun = Instant::now();
    let (mut bytes, mut written) = (Vec::new(), 0);
    while begun.elapsed() < FLOOD {
        bytes.clear();
        while bytes.len() < 64 << 10 {
            frames(&mut bytes);
        }
        match socket.write_all(&bytes) {
            Ok(()) => written += bytes.len() as u64,
            // It is held up, or ended: both are bounds.
            Err(_) => break,
        }
    }
    written
}

#[test]
fn tr_8_floods_of_a_hostile_relay_grow_the_daemon_by_little() {
    let hostile = Hostile::start();
    let mut rig = Rig::new();
    rig.up(&["--relay", &format!("ws://{}", hostile.address)]);
    // Once before measuring: code and buffers that any socket needs.
    let mut control = hostile.registered(routes(1));
    let warm = hostile.data();
    let pid = rig.daemon().pid();
    let before = resident(pid).unwrap();
    let mut most = before;
    let mut grown = |what: &str, written: u64| {
        let now = resident(pid).unwrap();
        most = most.max(now);
        println!(
            "{what}: {written} bytes, {} KiB more",
            now.saturating_sub(before) >> 10
        );
    };

    // Lanes beyond the bound, with and without reading the refusals.
    for reads in [true, false] {
        let [session] = <[_; 1]>::try_from(routes(1)).unwrap();
        say(&mut control, &RelayMessage::SessionOpened { session });
        let mut data = hostile.data();
        if reads {
            drain(&data);
        }
        let mut lane = 0;
        let written = flood(&mut data, |bytes| {
            lane += 1;
            let lane = Lane::new(lane);
            put(bytes, 2, &LaneFrame::Open { lane }.encode());
        });
        grown(
            if reads {
                "refused lanes"
            } else {
                "refused lanes, unread"
            },
            written,
        );
    }

    // Empty messages on lanes that are open, were closed, or never were.
    let [session] = <[_; 1]>::try_from(routes(1)).unwrap();
    say(&mut control, &RelayMessage::SessionOpened { session });
    let mut data = hostile.data();
    drain(&data);
    let mut lane = 0;
    let written = flood(&mut data, |bytes| {
        lane += 1;
        let open = Lane::new(lane);
        put(bytes, 2, &LaneFrame::Open { lane: open }.encode());
        for lane in lane.saturating_sub(64)..=lane + 64 {
            let lane = Lane::new(lane);
            let payload = bytes::Bytes::new();
            put(bytes, 2, &LaneFrame::Data { lane, payload }.encode());
        }
    });
    grown("empty frames", written);

    // The beginnings of as many largest messages as the daemon opens sockets for.
    let sessions = routes(2_000);
    say(&mut control, &RelayMessage::Sync { sessions });
    let mut open = Vec::new();
    while let Ok(mut data) = hostile.data.recv_timeout(Duration::from_secs(2)) {
        let mut part = vec![0x82, 127];
        part.extend((MAX_DATA_MESSAGE as u64).to_be_bytes());
        part.resize(MAX_DATA_MESSAGE, 0);
        data.set_write_timeout(Some(FLOOD)).unwrap();
        let _ = data.write_all(&part);
        open.push(data);
    }
    assert!(!open.is_empty());
    thread::sleep(Duration::from_secs(1));
    grown("partial frames", (open.len() * MAX_DATA_MESSAGE) as u64);

    assert!(
        most - before <= MOST,
        "{} KiB more than {} KiB",
        (most - before) >> 10,
        before >> 10
    );
    // It still does its work.
    rig.pair();
    let run = rig.bl(&["run", "--provider", "shell", "echo well"]);
    assert_eq!((run.code, run.stdout.trim()), (0, "well"), "{run:?}");
    drop((warm, open));
}

/// Speaks at full speed and reads nothing until the other side ends the socket; returns how long
/// that took.
fn only_speaks(mut socket: TcpStream, frame: &[u8]) -> Duration {
    let begun = Instant::now();
    socket
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let bytes = frame.repeat(500);
    loop {
        assert!(begun.elapsed() < 2 * SOCKET_STALL, "it is kept for ever");
        match socket.write(&bytes) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return begun.elapsed(),
        }
    }
}

/// A ping with a full payload, whose answers fill whatever is not read.
fn ping() -> Vec<u8> {
    let mut frame = Vec::new();
    put(&mut frame, 9, &[7; 125]);
    frame
}

#[test]
fn tr_8_a_relay_that_only_speaks_is_dropped() {
    let hostile = Hostile::start();
    let mut rig = Rig::new();
    rig.up(&["--relay", &format!("ws://{}", hostile.address)]);
    let control = hostile.registered(routes(1));
    let data = hostile.data();
    let control = control.get_ref().try_clone().unwrap();
    let sockets = [control, data].map(|socket| thread::spawn(|| only_speaks(socket, &ping())));
    for socket in sockets {
        println!("dropped after {:?}", socket.join().unwrap());
    }
    let status = rig.rpc("daemon.status", json!({}));
    let error = &status["result"]["relays"][0]["lastError"];
    assert!(error.is_object(), "{status}");
}
