//! A TCP proxy whose owner breaks the path through it, as a real network would.
//!
//! | call | what the two ends see |
//! |---|---|
//! | [`Proxy::cut`] | every connection is reset at once |
//! | [`Proxy::freeze`] | sockets stay open, nothing arrives; [`Proxy::thaw`] delivers what was held |
//! | [`Proxy::blackhole`] | sockets stay open, nothing of them ever arrives again; new ones work |
//! | [`Proxy::refuse`] | a new connection is reset as soon as it is made |
//! | [`Proxy::delay`] | everything arrives that much later, each way |
//! | [`Proxy::lose`] | a share of what is sent arrives only when it is sent again, and what follows it waits |

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::link;

/// Connections at one time; one more is reset.
const MAX_CONNECTIONS: usize = 4_096;
/// Pause after a failed accept (too many open files, for instance), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The state of the path, as its owner set it.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Where new connections go.
    pub(crate) target: SocketAddr,
    /// Nothing passes.
    pub(crate) frozen: bool,
    /// New connections are reset.
    pub(crate) refusing: bool,
    /// Added each way.
    pub(crate) delay: Duration,
    /// So many of a hundred reads are lost once …
    pub(crate) lost_percent: u8,
    /// … and arrive so much later.
    pub(crate) again_after: Duration,
    /// Connections born before this count of cuts are reset.
    pub(crate) cuts: u64,
    /// Connections born before this count of blackholes have lost their path for good.
    pub(crate) holes: u64,
}

/// Running totals, for the assertions and reports of a test.
#[derive(Debug, Default)]
struct Totals {
    accepted: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    cut: AtomicU64,
    to_target: AtomicU64,
    to_client: AtomicU64,
}

/// What passed through a [`Proxy`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted and passed on.
    pub accepted: u64,
    /// Connections reset because of [`Proxy::refuse`], a dead target or too many connections.
    pub refused: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections ended by [`Proxy::cut`].
    pub cut: u64,
    /// Bytes delivered to the target.
    pub to_target: u64,
    /// Bytes delivered to clients.
    pub to_client: u64,
}

/// A running proxy. Clones control the same one; when the last is dropped, the proxy and every connection
/// through it end.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    addr: SocketAddr,
    weather: watch::Sender<Weather>,
    totals: Arc<Totals>,
    accepting: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Starts a proxy to `target` on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (weather, seen) = watch::channel(Weather {
            target,
            frozen: false,
            refusing: false,
            delay: Duration::ZERO,
            lost_percent: 0,
            again_after: Duration::ZERO,
            cuts: 0,
            holes: 0,
        });
        let totals = Arc::new(Totals::default());
        let accepting = tokio::spawn(accept(listener, seen, Arc::clone(&totals)));
        Ok(Self {
            shared: Arc::new(Shared {
                addr,
                weather,
                totals,
                accepting,
            }),
        })
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Resets every connection there is.
    pub fn cut(&self) {
        self.change(|weather| weather.cuts += 1);
    }

    /// Holds everything back. Sockets stay open, new ones are accepted; a bounded amount is kept, then
    /// senders feel that nobody reads.
    pub fn freeze(&self) {
        self.change(|weather| weather.frozen = true);
    }

    /// Ends a freeze; what was held is delivered.
    pub fn thaw(&self) {
        self.change(|weather| weather.frozen = false);
    }

    /// Loses the path of every connection there is, without either end being told: what a changed network
    /// address does. They stay half-open until [`Proxy::cut`]. New connections work.
    pub fn blackhole(&self) {
        self.change(|weather| weather.holes += 1);
    }

    /// Whether new connections are reset as soon as they are made.
    pub fn refuse(&self, refuse: bool) {
        self.change(|weather| weather.refusing = refuse);
    }

    /// Adds so much time each way to what is read from now on.
    pub fn delay(&self, delay: Duration) {
        self.change(|weather| weather.delay = delay);
    }

    /// Loses so many percent of what is read from now on, once: it arrives when it is sent again, after that much time, and
    /// what was sent after it waits for it, as TCP has it.
    pub fn lose(&self, percent: u8, again_after: Duration) {
        self.change(|weather| {
            weather.lost_percent = percent;
            weather.again_after = again_after;
        });
    }

    /// Sends new connections elsewhere: a daemon that came back on another port.
    pub fn set_target(&self, target: SocketAddr) {
        self.change(|weather| weather.target = target);
    }

    /// The totals so far.
    pub fn counters(&self) -> Counters {
        let totals = &self.shared.totals;
        let of = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Counters {
            accepted: of(&totals.accepted),
            refused: of(&totals.refused),
            open: of(&totals.open),
            cut: of(&totals.cut),
            to_target: of(&totals.to_target),
            to_client: of(&totals.to_client),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.shared.weather.send_modify(change);
    }
}

async fn accept(listener: TcpListener, weather: watch::Receiver<Weather>, totals: Arc<Totals>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((client, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if weather.borrow().refusing || connections.len() >= MAX_CONNECTIONS {
            totals.refused.fetch_add(1, Ordering::Relaxed);
            reset(&client);
            continue;
        }
        connections.spawn(connection(client, weather.clone(), Arc::clone(&totals)));
    }
}

async fn connection(
    mut client: TcpStream,
    mut weather: watch::Receiver<Weather>,
    totals: Arc<Totals>,
) {
    let born = weather.borrow().clone();
    let mut thawing = weather.clone();
    let open = Open::new(&totals);
    let target = tokio::select! {
        target = reach(&mut thawing) => target,
        () = was_cut(&mut weather, born.cuts) => None,
    };
    let Some(mut target) = target else {
        totals.refused.fetch_add(1, Ordering::Relaxed);
        reset(&client);
        return;
    };
    let number = totals.accepted.fetch_add(1, Ordering::Relaxed);
    let _ = client.set_nodelay(true);
    let _ = target.set_nodelay(true);
    let cut = {
        let (from_client, to_client) = client.split();
        let (from_target, to_target) = target.split();
        let up = link::carry(
            from_client,
            to_target,
            &thawing,
            (born.holes, 2 * number),
            &totals.to_target,
        );
        let down = link::carry(
            from_target,
            to_client,
            &thawing,
            (born.holes, 2 * number + 1),
            &totals.to_client,
        );
        tokio::select! {
            ended = async { tokio::try_join!(up, down) } => ended.is_err(),
            () = was_cut(&mut weather, born.cuts) => {
                totals.cut.fetch_add(1, Ordering::Relaxed);
                true
            }
        }
    };
    if cut {
        reset(&client);
        reset(&target);
    }
    drop((client, target));
    drop(open);
}

/// Connects to the target once the path is not frozen; `None` when nobody is there.
async fn reach(weather: &mut watch::Receiver<Weather>) -> Option<TcpStream> {
    let target = weather
        .wait_for(|weather| !weather.frozen)
        .await
        .ok()?
        .target;
    TcpStream::connect(target).await.ok()
}

/// Ends when a cut concerns a connection that was born after `born` of them.
async fn was_cut(weather: &mut watch::Receiver<Weather>, born: u64) {
    // An error means that the proxy itself is gone: every connection ends then.
    let _ = weather.wait_for(|weather| weather.cuts > born).await;
}

/// Makes the close that follows a reset rather than an orderly end.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open<'a>(&'a Totals);

impl<'a> Open<'a> {
    fn new(totals: &'a Totals) -> Self {
        totals.open.fetch_add(1, Ordering::Relaxed);
        Self(totals)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
