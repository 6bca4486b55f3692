//! An in-memory network: paths with latency that can be cut, frozen, half-open, refusing or dead.
//! It uses tokio's time, so a test with paused time runs minutes in milliseconds.

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
use bowline_testkit::{peer::MessageSocket, random::Random};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::daemon::Daemon;

/// A message in transit.
#[derive(Debug)]
enum Frame {
    Data(Bytes),
    Close(Reason),
}

type Stamped = (Instant, Frame);

/// One end of a connection. Dropping it ends the connection.
pub(super) struct Wire {
    out: mpsc::UnboundedSender<Stamped>,
    inn: mpsc::UnboundedReceiver<Frame>,
}

impl Wire {
    fn write(&self, frame: Frame) {
        let _ = self.out.send((Instant::now(), frame));
    }
}

impl MessageSocket for Wire {
    async fn receive(&mut self) -> Option<Bytes> {
        match self.inn.recv().await? {
            Frame::Data(bytes) => Some(bytes),
            Frame::Close(_) => None,
        }
    }

    fn send(&self, message: Vec<u8>) {
        self.write(Frame::Data(message.into()));
    }

    fn close(&self, reason: Reason) {
        self.write(Frame::Close(reason));
    }
}

/// Conditions of one path.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkConditions {
    /// Minimum and maximum one-way latency in milliseconds.
    pub(super) latency: (u64, u64),
    /// Percentage of messages that are lost once …
    pub(super) lost_percent: u64,
    /// … and their delay in milliseconds, which later messages share.
    pub(super) again_after: u64,
    /// Nothing passes; data in transit waits.
    pub(super) frozen: bool,
    /// New connections are refused at once.
    pub(super) refusing: bool,
    /// New connections get no answer at all.
    pub(super) dead: bool,
    /// Connections made before this count of cuts are reset.
    pub(super) cuts: u64,
    /// Connections made before this blackhole count have silently lost their path.
    pub(super) holes: u64,
}

impl LinkConditions {
    pub(super) const FINE: Self = Self {
        latency: (1, 20),
        lost_percent: 0,
        again_after: 0,
        frozen: false,
        refusing: false,
        dead: false,
        cuts: 0,
        holes: 0,
    };
}

/// All paths to the daemon.
pub(super) struct Network {
    paths: BTreeMap<String, watch::Sender<LinkConditions>>,
    random: Mutex<Random>,
    daemon: Arc<Daemon>,
}

impl Network {
    pub(super) fn new(seed: u64, paths: &[&str], daemon: Arc<Daemon>) -> Self {
        let path = |name: &&str| ((*name).to_owned(), watch::Sender::new(LinkConditions::FINE));
        Self {
            paths: paths.iter().map(path).collect(),
            random: Mutex::new(Random::new(seed)),
            daemon,
        }
    }

    pub(super) fn change(&self, path: &str, change: impl FnOnce(&mut LinkConditions)) {
        self.paths[path].send_modify(change);
    }

    pub(super) fn change_all(&self, change: impl Fn(&mut LinkConditions)) {
        self.paths
            .values()
            .for_each(|path| path.send_modify(&change));
    }

    fn draw(&self) -> Random {
        Random::new(self.random.lock().unwrap().next_u64())
    }
}

/// The client's connector to the network.
pub(super) struct SimConnector(pub(super) Arc<Network>);

impl Connector for SimConnector {
    fn connect(&self, target: &Target) -> BoxFuture<Result<Box<dyn Transport>, Failure>> {
        let network = Arc::clone(&self.0);
        let address = target.address.address.clone();
        Box::pin(async move {
            let mut conditions = network.paths[&address].subscribe();
            let mut random = network.draw();
            let (least, most) = conditions.borrow().latency;
            // A round trip: a connection exists once both ends have confirmed it.
            sleep(latency(&mut random, (2 * least, 2 * most))).await;
            if conditions.borrow().dead {
                std::future::pending::<()>().await;
            }
            let refusing = match conditions.wait_for(|conditions| !conditions.frozen).await {
                Ok(conditions) => conditions.refusing,
                Err(_) => true,
            };
            let unreachable = || Failure::new(Reason::Unreachable, format!("{address} refuses"));
            if refusing {
                return Err(unreachable());
            }
            let (ours, theirs) = connect(&conditions, &mut random);
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

fn connect(conditions: &watch::Receiver<LinkConditions>, random: &mut Random) -> (Wire, Wire) {
    let (client_out, to_daemon) = mpsc::unbounded_channel();
    let (daemon_out, to_client) = mpsc::unbounded_channel();
    let (at_daemon, daemon_in) = mpsc::unbounded_channel();
    let (at_client, client_in) = mpsc::unbounded_channel();
    let born = *conditions.borrow();
    for (from, to) in [(to_daemon, at_daemon), (to_client, at_client)] {
        let carrier = Carrier {
            from,
            to,
            conditions: conditions.clone(),
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
    conditions: watch::Receiver<LinkConditions>,
    born: LinkConditions,
    random: Random,
    last: Instant,
}

impl Carrier {
    async fn run(mut self) {
        let mut cuts = self.conditions.clone();
        let born = self.born.cuts;
        tokio::select! {
            biased;
            // Ends both directions at once; both ends see the connection closed.
            _ = cuts.wait_for(|conditions| conditions.cuts > born) => {}
            () = self.carry() => {}
        }
    }

    async fn carry(&mut self) {
        loop {
            let (sent, frame) = match self.from.recv().await {
                Some((sent, frame)) => (sent, Some(frame)),
                None => (Instant::now(), None),
            };
            let LinkConditions {
                latency: range,
                lost_percent,
                again_after,
                ..
            } = *self.conditions.borrow();
            let mut late = latency(&mut self.random, range);
            if lost_percent > 0 && self.random.below(100) < lost_percent {
                late += Duration::from_millis(again_after);
            }
            // In order, as on one TCP connection.
            self.last = self.last.max(sent + late);
            sleep_until(self.last).await;
            let holes = self.born.holes;
            let lost = match self
                .conditions
                .wait_for(|conditions| !conditions.frozen || conditions.holes > holes)
                .await
            {
                Ok(conditions) => conditions.holes > holes,
                Err(_) => return,
            };
            match frame {
                // Silent until a cut.
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

    fn queue(&mut self, message: &[u8]) -> Result<(), Closed> {
        // On a half-open connection neither end notices the loss.
        self.wire.send(message.to_vec());
        Ok(())
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn close(self: Box<Self>, reason: Reason) -> BoxFuture<()> {
        self.wire.close(reason);
        Box::pin(std::future::ready(()))
    }
}
