//! A hostile relay between a real daemon and a real client: drops, repeats, reorders, truncates,
//! injects and swaps lanes. It can only deny service (RL-1, BX-1, BX-2, BX-3).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_protocol::relay::{Lane, LaneFrame, SUBPROTOCOL};
use bowline_runtime::Intent;
use bowline_testkit::{
    Proxy, eventually,
    random::Random,
    world::{Follower, RelayOptions, RelayProcess, done},
};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};
use tokio_tungstenite::{
    accept_hdr_async, client_async,
    tungstenite::{
        self, ClientRequestBuilder, Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderValue, header},
    },
};

use crate::{
    Outcome,
    relay_world::{RelayPlan, RelayWorld},
    world::{LONG, seed},
};

/// Average number of unmodified messages per modified one.
const MERCY: u64 = 60;

/// Modifications so far.
#[derive(Debug, Default)]
struct Deeds {
    dropped: AtomicU64,
    repeated: AtomicU64,
    reordered: AtomicU64,
    truncated: AtomicU64,
    injected: AtomicU64,
    swapped: AtomicU64,
    malicious: AtomicBool,
}

impl Deeds {
    fn each(&self) -> [u64; 6] {
        [
            &self.dropped,
            &self.repeated,
            &self.reordered,
            &self.truncated,
            &self.injected,
            &self.swapped,
        ]
        .map(|deed| deed.load(Relaxed))
    }
}

/// The relay as seen by the daemon: the real one with modified messages.
struct Hostile {
    address: SocketAddr,
    deeds: Arc<Deeds>,
    accepting: JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Hostile {
    async fn before(relay: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let deeds = Arc::new(Deeds::default());
        let noted = Arc::clone(&deeds);
        let accepting = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                number += 1;
                let random = Random::new(seed() ^ (number << 32));
                tokio::spawn(between(stream, relay, Arc::clone(&noted), random));
            }
        });
        Self {
            address,
            deeds,
            accepting,
        }
    }
}

/// Forwards one socket of the daemon to the relay. Control sockets are unmodified: without a
/// registration there is nothing to attack.
async fn between(stream: TcpStream, relay: SocketAddr, deeds: Arc<Deeds>, random: Random) {
    let (mut path, mut bearer) = (String::new(), None);
    #[allow(clippy::result_large_err)]
    let note = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().to_string();
        bearer = request.headers().get(header::AUTHORIZATION).cloned();
        let protocol = HeaderValue::from_static(SUBPROTOCOL);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    };
    let Ok(daemon) = accept_hdr_async(stream, note).await else {
        return;
    };
    let Ok(stream) = TcpStream::connect(relay).await else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let uri = format!("ws://{relay}{path}").parse().unwrap();
    let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    if let Some(bearer) = &bearer {
        request = request.with_header("authorization", bearer.to_str().unwrap());
    }
    let Ok((relay, _)) = client_async(request, stream).await else {
        return;
    };
    let (to_daemon, from_daemon) = daemon.split();
    let (to_relay, from_relay) = relay.split();
    let spoil = bearer.is_some();
    let one = Mangler::new(spoil, Arc::clone(&deeds), random.clone());
    let other = Mangler::new(spoil, deeds, random);
    tokio::select! {
        () = pass(from_daemon, to_relay, one) => {}
        () = pass(from_relay, to_daemon, other) => {}
    }
}

type Result2 = Result<Message, tungstenite::Error>;

async fn pass(
    mut from: impl Stream<Item = Result2> + Unpin,
    mut to: impl Sink<Message> + Unpin,
    mut mangler: Mangler,
) {
    while let Some(Ok(message)) = from.next().await {
        match message {
            Message::Binary(bytes) => {
                for bytes in mangler.mangle(bytes) {
                    if to.send(Message::Binary(bytes)).await.is_err() {
                        return;
                    }
                }
            }
            Message::Close(frame) => {
                let _ = to.send(Message::Close(frame)).await;
                return;
            }
            Message::Text(text) => {
                if to.send(Message::Text(text)).await.is_err() {
                    return;
                }
            }
            // Each side handles its own.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Modifies the frames of one direction.
struct Mangler {
    spoil: bool,
    deeds: Arc<Deeds>,
    random: Random,
    /// Held back until after the next frame.
    held: Option<Bytes>,
    lanes: Vec<Lane>,
}

impl Mangler {
    const fn new(spoil: bool, deeds: Arc<Deeds>, random: Random) -> Self {
        Self {
            spoil,
            deeds,
            random,
            held: None,
            lanes: Vec::new(),
        }
    }

    fn mangle(&mut self, frame: Bytes) -> Vec<Bytes> {
        let mut out = vec![frame.clone()];
        if let Some(held) = self.held.take() {
            out.push(held);
        }
        let Ok(LaneFrame::Data { lane, payload }) = LaneFrame::decode(frame.clone()) else {
            return out;
        };
        if !self.lanes.contains(&lane) {
            self.lanes.push(lane);
        }
        let malicious = self.spoil && self.deeds.malicious.load(Relaxed);
        if !malicious || self.random.below(MERCY) != 0 {
            return out;
        }
        let data = |lane, payload| LaneFrame::Data { lane, payload }.encode();
        let deed = match self.random.below(6) {
            0 => {
                out.remove(0);
                &self.deeds.dropped
            }
            1 => {
                out.push(frame);
                &self.deeds.repeated
            }
            2 => {
                self.held = Some(out.remove(0));
                &self.deeds.reordered
            }
            3 => {
                let half = payload.slice(..payload.len() / 2);
                out[0] = data(lane, half);
                &self.deeds.truncated
            }
            4 => {
                out.insert(0, data(lane, Bytes::from_static(b"{\"jsonrpc\":\"2.0\"}")));
                &self.deeds.injected
            }
            _ => {
                let other = self.lanes.iter().rev().find(|other| **other != lane);
                // Without a neighbour, a nonexistent lane.
                let other = other.copied().unwrap_or(Lane::new(lane.number() + 1));
                out[0] = data(other, payload);
                &self.deeds.swapped
            }
        };
        deed.fetch_add(1, Relaxed);
        out
    }
}

#[tokio::test]
async fn rl_1_bx_1_a_hostile_relay_can_deny_service_and_nothing_else() -> Outcome {
    let options = RelayOptions {
        heartbeat: Duration::from_millis(500),
        ..RelayOptions::default()
    };
    let far = Proxy::ahead().await?;
    let at = far.addr();
    // It passes the registration on as well, so that it can do its worst to what follows.
    let relay = RelayProcess::start(options.dialled_at(at)).await?;
    let hostile = Hostile::before(relay.address()).await;
    far.lead_to(hostile.address);
    let world = RelayWorld::behind(RelayPlan::relay_only(), relay, far, at).await?;
    let epoch = world.sessions().await?[0]["epoch"].clone();
    let appender = world.client.agent("append", &world.work(), None).await?;
    let streaming = world.streamer(1_500).await?;
    let follower = Follower::new(&world.client, &streaming).await?;
    follower.until_lines(20).await?;

    hostile.deeds.malicious.store(true, Relaxed);
    let mut sent = Vec::new();
    let mut n = 0;
    // Until each modification has occurred, and a second client socket existed to swap lanes with.
    eventually("every deed", || {
        let text = format!("intent {n}");
        n += 1;
        let agent_id = appender.clone();
        sent.push(world.client.send(Intent::SendPrompt { agent_id, text }));
        let deeds = hostile.deeds.each();
        async move {
            sleep(Duration::from_millis(30)).await;
            deeds.iter().all(|count| *count > 0)
        }
    })
    .await;
    hostile.deeds.malicious.store(false, Relaxed);
    println!(
        "dropped, repeated, reordered, truncated, injected, swapped: {:?}; {n} intents",
        hostile.deeds.each()
    );

    for intent in sent {
        done(intent?, LONG).await?;
    }
    eventually("every effect", async || world.effects().len() >= n).await;
    let mut effects = world.effects();
    effects.sort();
    effects.dedup();
    assert_eq!((effects.len(), world.effects().len()), (n, n), "once each");
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    assert_eq!(follower.lines(), 1_500);
    let sessions = world.sessions().await?;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["epoch"], epoch, "it could not even reset it");
    world.unbroken().await?;
    world.done().await
}
