//! A network in memory: paths with latency that can be cut, frozen, lost half-open, refused or dead. Its time is
//! tokio's, so a test that holds the clock plays minutes in milliseconds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bowline_protocol::Reason;
use bowline_runtime::{
    Failure,
    transport::{BoxFuture, Closed, Connector, Target, Transport},
};
use bowline_sim::random::Random;
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::daemon::Daemon;

/// What passes.
#[derive(Debug)]
pub(super) enum Frame {
    Data(Bytes),
    Close(Reason),
}

type Stamped = (Instant, Frame);

/// One end of a connection. Dropping it ends the connection.
pub(super) struct Wire {
    out: mpsc::UnboundedSender<Stamped>,
    pub(super) inn: mpsc::UnboundedReceiver<Frame>,
}

impl Wire {
    /// False when the connection is over.
    pub(super) fn send(&self, frame: Frame) -> bool {
        self.out.send((Instant::now(), frame)).is_ok()
    }
}

/// How one path is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Least and most latency one way, in milliseconds.
    pub(super) latency: (u64, u64),
    /// Nothing passes; what is under way waits.
    pub(super) frozen: bool,
    /// New connections are refused at once.
    pub(super) refusing: bool,
    /// New connections get no answer at all.
    pub(super) dead: bool,
    /// Connections made before this count of cuts are reset.
    pub(super) cuts: u64,
    /// Connections made before this count of holes have lost their path without being told.
    pub(super) holes: u64,
}

impl Weather {
    pub(super) const FINE: Self = Self {
        latency: (1, 20),
        frozen: false,
        refusing: false,
        dead: false,
        cuts: 0,
        holes: 0,
    };
}

/// Every path to the one daemon.
pub(super) struct Network {
    paths: BTreeMap<String, watch::Sender<Weather>>,
    random: Mutex<Random>,
    daemon: Arc<Daemon>,
}

impl Network {
    pub(super) fn new(seed: u64, paths: &[&str], daemon: Arc<Daemon>) -> Self {
        let path = |name: &&str| ((*name).to_owned(), watch::Sender::new(Weather::FINE));
        Self {
            paths: paths.iter().map(path).collect(),
            random: Mutex::new(Random::new(seed)),
            daemon,
        }
    }

    pub(super) fn change(&self, path: &str, change: impl FnOnce(&mut Weather)) {
        self.paths[path].send_modify(change);
    }

    pub(super) fn change_all(&self, change: impl Fn(&mut Weather)) {
        self.paths
            .values()
            .for_each(|path| path.send_modify(&change));
    }

    fn draw(&self) -> Random {
        Random::new(self.random.lock().unwrap().next_u64())
    }
}

/// The client's way into the network.
pub(super) struct SimConnector(pub(super) Arc<Network>);

impl Connector for SimConnector {
    fn connect(&self, target: &Target) -> BoxFuture<Result<Box<dyn Transport>, Failure>> {
        let network = Arc::clone(&self.0);
        let address = target.address.address.clone();
        Box::pin(async move {
            let mut weather = network.paths[&address].subscribe();
            let mut random = network.draw();
            let (least, most) = weather.borrow().latency;
            // There and back: a connection is there when both ends know of it.
            sleep(latency(&mut random, (2 * least, 2 * most))).await;
            if weather.borrow().dead {
                std::future::pending::<()>().await;
            }
            let refusing = match weather.wait_for(|weather| !weather.frozen).await {
                Ok(weather) => weather.refusing,
                Err(_) => true,
            };
            let unreachable = || Failure::new(Reason::Unreachable, format!("{address} refuses"));
            if refusing {
                return Err(unreachable());
            }
            let (ours, theirs) = connect(&weather, &mut random);
            if !network.daemon.accept(theirs, random.next_u64()) {
                return Err(unreachable());
            }
            Ok(Box::new(SimTransport {
                wire: ours,
                received: 0,
            }) as Box<dyn Transport>)
        })
    }
}

fn latency(random: &mut Random, (least, most): (u64, u64)) -> Duration {
    random.between(Duration::from_millis(least), Duration::from_millis(most))
}

fn connect(weather: &watch::Receiver<Weather>, random: &mut Random) -> (Wire, Wire) {
    let (client_out, to_daemon) = mpsc::unbounded_channel();
    let (daemon_out, to_client) = mpsc::unbounded_channel();
    let (at_daemon, daemon_in) = mpsc::unbounded_channel();
    let (at_client, client_in) = mpsc::unbounded_channel();
    let born = *weather.borrow();
    for (from, to) in [(to_daemon, at_daemon), (to_client, at_client)] {
        let carrier = Carrier {
            from,
            to,
            weather: weather.clone(),
            born,
            random: Random::new(random.next_u64()),
            last: Instant::now(),
        };
        tokio::spawn(carrier.run());
    }
    let ours = Wire {
        out: client_out,
        inn: client_in,
    };
    let theirs = Wire {
        out: daemon_out,
        inn: daemon_in,
    };
    (ours, theirs)
}

/// One direction of one connection.
struct Carrier {
    from: mpsc::UnboundedReceiver<Stamped>,
    to: mpsc::UnboundedSender<Frame>,
    weather: watch::Receiver<Weather>,
    born: Weather,
    random: Random,
    last: Instant,
}

impl Carrier {
    async fn run(mut self) {
        let mut cuts = self.weather.clone();
        let born = self.born.cuts;
        tokio::select! {
            biased;
            // Ends both directions at once; both ends find the connection gone.
            _ = cuts.wait_for(|weather| weather.cuts > born) => {}
            () = self.carry() => {}
        }
    }

    async fn carry(&mut self) {
        loop {
            let (sent, frame) = match self.from.recv().await {
                Some((sent, frame)) => (sent, Some(frame)),
                None => (Instant::now(), None),
            };
            let (least, most) = self.weather.borrow().latency;
            // In order, as on one TCP connection.
            self.last = self
                .last
                .max(sent + latency(&mut self.random, (least, most)));
            sleep_until(self.last).await;
            let holes = self.born.holes;
            let lost = match self
                .weather
                .wait_for(|weather| !weather.frozen || weather.holes > holes)
                .await
            {
                Ok(weather) => weather.holes > holes,
                Err(_) => return,
            };
            match frame {
                // Nobody is told anything until a cut.
                _ if lost => {
                    self.from.close();
                    std::future::pending::<()>().await;
                }
                Some(frame) => {
                    if self.to.send(frame).is_err() {
                        return;
                    }
                }
                None => return,
            }
        }
    }
}

struct SimTransport {
    wire: Wire,
    received: u64,
}

impl Transport for SimTransport {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Closed>> {
        self.wire.inn.poll_recv(cx).map(|frame| match frame {
            Some(Frame::Data(bytes)) => {
                self.received += bytes.len() as u64;
                Ok(bytes)
            }
            Some(Frame::Close(reason)) => Err(reason.into()),
            None => Err(Reason::ConnectionLost.into()),
        })
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn queue(&mut self, message: Vec<u8>) -> Result<(), Closed> {
        // On a half-open connection nobody notices that nothing arrives.
        self.wire.send(Frame::Data(message.into()));
        Ok(())
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn close(self: Box<Self>, reason: Reason) -> BoxFuture<()> {
        self.wire.send(Frame::Close(reason));
        Box::pin(std::future::ready(()))
    }
}
