//! TR-8: a relay can only deny. A hostile relay floods a daemon with all that a relay may send, and
//! is dropped if it only speaks and never reads.
#![cfg(target_os = "linux")] // Memory is measured there.

use std::{
    collections::HashMap,
    io::{ErrorKind, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use bowline_protocol::{
    PublicKey, RouteKey, ServerId,
    identity::random_bytes,
    relay::{
        CONTROL_PATH, DaemonMessage, DataToken, Lane, LaneFrame, Nonce, RelayMessage, SUBPROTOCOL,
        data_path,
        limits::{MAX_DATA_MESSAGE, SOCKET_STALL, STRANGERS_PER_DAEMON},
    },
};
use bowline_testkit::{attack_time, blocking::eventually, world::resident};
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message, WebSocket, accept_hdr,
    handshake::server::{Request, Response},
    http::HeaderValue,
};

use crate::cases::rig::{DEADLINE, Rig};

/// By how much the daemon may grow in all.
const MOST: u64 = 16 << 20;
/// How often its memory is read during the floods.
const SAMPLE: Duration = Duration::from_millis(100);
/// Time of one round of partial frames.
const ROUND: Duration = Duration::from_millis(500);
/// Sessions of one round of partial frames, which leave some to the other floods.
const PARTIAL: usize = STRANGERS_PER_DAEMON as usize - 8;

/// Sockets of a daemon at a relay that obeys no rule.
struct Hostile {
    address: SocketAddr,
    controls: Mutex<mpsc::Receiver<WebSocket<TcpStream>>>,
    /// Data sockets not yet taken, by the path that names their session.
    data: Arc<Mutex<HashMap<String, TcpStream>>>,
}

impl Hostile {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (control, controls) = mpsc::channel();
        let data = Arc::<Mutex<HashMap<_, _>>>::default();
        let opened = Arc::clone(&data);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut path = String::new();
                #[allow(clippy::result_large_err, reason = "as the library wants it")]
                let note = |request: &Request, mut response: Response| {
                    path = request.uri().to_string();
                    let protocol = HeaderValue::from_static(SUBPROTOCOL);
                    let headers = response.headers_mut();
                    headers.insert("sec-websocket-protocol", protocol);
                    Ok(response)
                };
                let Ok(socket) = accept_hdr(stream, note) else {
                    continue;
                };
                if path == CONTROL_PATH {
                    if control.send(socket).is_err() {
                        return;
                    }
                } else {
                    let socket = socket.get_ref().try_clone().unwrap();
                    opened.lock().unwrap().insert(path, socket);
                }
            }
        });
        Self {
            address,
            controls: Mutex::new(controls),
            data,
        }
    }

    /// A registered daemon's control socket.
    fn registered(&self) -> WebSocket<TcpStream> {
        let controls = self.controls.lock().unwrap();
        let mut control = controls.recv_timeout(DEADLINE).unwrap();
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
        let sessions = Vec::new();
        say(&mut control, &RelayMessage::Sync { sessions });
        control
    }

    /// The next data socket of a session, if the daemon has opened one.
    fn take(&self, session: &RouteKey) -> Option<TcpStream> {
        self.data.lock().unwrap().remove(&data_path(session))
    }

    fn data(&self, session: &RouteKey) -> TcpStream {
        eventually("the daemon opens a data socket", || self.take(session))
    }
}

fn say(control: &mut WebSocket<TcpStream>, message: &RelayMessage) {
    let json = serde_json::to_string(message).unwrap();
    control.send(Message::text(json)).unwrap();
}

fn route() -> RouteKey {
    let server = ServerId::of_public_key(&[1; 32]);
    RouteKey::of_device(&PublicKey::from_bytes(random_bytes().unwrap()), &server)
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

/// Writes to a socket until it ends or the time is over; returns the number of bytes. A socket that
/// takes nothing is kept: whether it ends is for the other side to decide.
fn write_all(socket: &mut TcpStream, bytes: &[u8], until: Instant) -> (u64, bool) {
    let mut left = bytes;
    while !left.is_empty() {
        match socket.write(left) {
            Ok(written) => left = &left[written..],
            Err(error) if is_timeout(&error) && Instant::now() < until => {}
            Err(_) => break,
        }
    }
    ((bytes.len() - left.len()) as u64, left.is_empty())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The floods of one relay, beside each other, until a moment.
struct Floods<'a> {
    hostile: &'a Hostile,
    control: Mutex<WebSocket<TcpStream>>,
    until: Instant,
}

impl Floods<'_> {
    fn say(&self, message: &RelayMessage) {
        say(&mut self.control.lock().unwrap(), message);
    }

    /// The data socket that the daemon opens for a session while the time is not over. A daemon
    /// that ended one opens the next.
    fn data(&self, session: &RouteKey) -> Option<TcpStream> {
        while Instant::now() < self.until {
            if let Some(data) = self.hostile.take(session) {
                data.set_write_timeout(Some(SAMPLE)).unwrap();
                return Some(data);
            }
            thread::sleep(SAMPLE / 10);
        }
        None
    }

    /// Frames at full speed on the data sockets of a session. Returns the number of bytes.
    fn frames(&self, reads: bool, mut frames: impl FnMut(&mut Vec<u8>)) -> u64 {
        let session = route();
        self.say(&RelayMessage::SessionOpened {
            session: session.clone(),
        });
        let (mut bytes, mut written) = (Vec::new(), 0);
        while let Some(mut data) = self.data(&session) {
            if reads {
                drain(&data);
            }
            loop {
                bytes.clear();
                while bytes.len() < 64 << 10 {
                    frames(&mut bytes);
                }
                let (some, goes_on) = write_all(&mut data, &bytes, self.until);
                written += some;
                if !goes_on || Instant::now() >= self.until {
                    break;
                }
            }
        }
        written
    }

    /// Lanes beyond the bound, with and without reading the refusals.
    fn refused_lanes(&self, reads: bool) -> u64 {
        let mut lane = 0;
        self.frames(reads, |bytes| {
            lane += 1;
            let lane = Lane::new(lane);
            put(bytes, 2, &LaneFrame::Open { lane }.encode());
        })
    }

    /// Empty messages on lanes that are open, were closed, or never were.
    fn empty_frames(&self) -> u64 {
        let mut lane = 0;
        self.frames(true, |bytes| {
            lane += 1;
            let open = Lane::new(lane);
            put(bytes, 2, &LaneFrame::Open { lane: open }.encode());
            for lane in lane.saturating_sub(64)..=lane + 64 {
                let lane = Lane::new(lane);
                let payload = bytes::Bytes::new();
                put(bytes, 2, &LaneFrame::Data { lane, payload }.encode());
            }
        })
    }

    /// The beginnings of as many largest messages as the daemon opens sockets for, of ever other
    /// sessions.
    fn partial_frames(&self) -> u64 {
        let mut part = vec![0x82, 127];
        part.extend((MAX_DATA_MESSAGE as u64).to_be_bytes());
        part.resize(MAX_DATA_MESSAGE, 0);
        let mut written = 0;
        while Instant::now() < self.until {
            let sessions: Vec<_> = (0..PARTIAL).map(|_| route()).collect();
            for session in sessions.iter().cloned() {
                self.say(&RelayMessage::SessionOpened { session });
            }
            // The daemon ignores those that are too many while earlier ones come to their end.
            let round = self.until.min(Instant::now() + ROUND);
            let mut open = Vec::new();
            while open.len() < PARTIAL && Instant::now() < round {
                for mut data in sessions.iter().filter_map(|it| self.hostile.take(it)) {
                    data.set_write_timeout(Some(SAMPLE)).unwrap();
                    written += write_all(&mut data, &part, round).0;
                    open.push(data);
                }
                thread::sleep(SAMPLE / 10);
            }
            for session in sessions {
                self.say(&RelayMessage::SessionClosed { session });
            }
        }
        written
    }
}

#[test]
fn tr_8_floods_of_a_hostile_relay_grow_the_daemon_by_little() {
    let hostile = Hostile::start();
    let mut rig = Rig::new();
    rig.up(&["--relay", &format!("ws://{}", hostile.address)]);
    // Once before measuring: code and buffers that any socket needs.
    let mut control = hostile.registered();
    let session = route();
    say(
        &mut control,
        &RelayMessage::SessionOpened {
            session: session.clone(),
        },
    );
    let warm = hostile.data(&session);
    let pid = rig.daemon().pid();
    let before = resident(pid).unwrap();
    let floods = Floods {
        hostile: &hostile,
        control: Mutex::new(control),
        until: Instant::now() + attack_time(Duration::from_secs(4)),
    };
    let mut most = before;
    thread::scope(|scope| {
        let floods = &floods;
        let running = [
            ("refused lanes", scope.spawn(|| floods.refused_lanes(true))),
            (
                "refused lanes, unread",
                scope.spawn(|| floods.refused_lanes(false)),
            ),
            ("empty frames", scope.spawn(|| floods.empty_frames())),
            ("partial frames", scope.spawn(|| floods.partial_frames())),
        ];
        while running.iter().any(|(_, flood)| !flood.is_finished()) {
            most = most.max(resident(pid).unwrap());
            thread::sleep(SAMPLE);
        }
        for (what, flood) in running {
            let written = flood.join().unwrap();
            println!("{what}: {} MiB", written >> 20);
            assert!(written > 0, "{what}");
        }
    });
    let now = resident(pid).unwrap();
    println!(
        "the daemon: {} KiB before, {} KiB more at most, {} KiB more after",
        before >> 10,
        (most - before) >> 10,
        now.saturating_sub(before) >> 10
    );
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
    drop(warm);
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
            Err(error) if is_timeout(&error) => {}
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
    let mut control = hostile.registered();
    let session = route();
    let opened = RelayMessage::SessionOpened {
        session: session.clone(),
    };
    say(&mut control, &opened);
    let data = hostile.data(&session);
    let control = control.get_ref().try_clone().unwrap();
    let sockets = [control, data].map(|socket| thread::spawn(|| only_speaks(socket, &ping())));
    for socket in sockets {
        println!("dropped after {:?}", socket.join().unwrap());
    }
    let status = rig.rpc("daemon.status", json!({}));
    let error = &status["result"]["relays"][0]["lastError"];
    assert!(error.is_object(), "{status}");
}
