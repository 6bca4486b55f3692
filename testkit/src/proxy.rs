//! A TCP proxy with injectable network faults.
//!
//! | call | effect on both ends |
//! |---|---|
//! | [`Proxy::cut`] | every connection is reset at once |
//! | [`Proxy::freeze`] | sockets stay open, nothing arrives; [`Proxy::thaw`] delivers what was held |
//! | [`Proxy::pass_only`] | a number of bytes still passes each way, then it is as frozen until [`Proxy::thaw`] |
//! | [`Proxy::blackhole`] | sockets stay open but never deliver again; new ones work |
//! | [`Proxy::refuse`] | new connections are reset at once |
//! | [`Proxy::delay`] | everything arrives later by this much, each way |
//! | [`Proxy::lose`] | a share of the data arrives only after a retransmission, and later data waits for it |

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

/// Maximum concurrent connections; further ones are reset.
const MAX_CONNECTIONS: usize = 4_096;
/// Delay after a failed accept (such as too many open files), to avoid spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Current settings of the path.
#[derive(Clone, Debug)]
pub(crate) struct LinkConditions {
    /// Target of new connections.
    pub(crate) target: SocketAddr,
    /// Nothing passes.
    pub(crate) frozen: bool,
    /// Totals of bytes to the target and to clients at which nothing passes any more.
    pub(crate) stop_at: Option<[u64; 2]>,
    /// New connections are reset.
    pub(crate) refusing: bool,
    /// Added delay in each direction.
    pub(crate) delay: Duration,
    /// Percentage of reads that are lost once …
    pub(crate) lost_percent: u8,
    /// … and the delay until their retransmission.
    pub(crate) again_after: Duration,
    /// Connections made before this cut count are reset.
    pub(crate) cuts: u64,
    /// Connections made before this blackhole count have lost their path permanently.
    pub(crate) holes: u64,
}

/// Totals for assertions and reports.
#[derive(Debug, Default)]
struct Totals {
    accepted: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    cut: AtomicU64,
    to_target: AtomicU64,
    to_client: AtomicU64,
}

/// Traffic of a [`Proxy`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted and forwarded.
    pub accepted: u64,
    /// Connections reset because of [`Proxy::refuse`], an unreachable target or the connection
    /// limit.
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

/// A running proxy. Clones control the same one; dropping the last ends the proxy and every
/// connection through it.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    addr: SocketAddr,
    conditions: watch::Sender<LinkConditions>,
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
    /// No port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (conditions, seen) = watch::channel(LinkConditions {
            target,
            frozen: false,
            stop_at: None,
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
                conditions,
                totals,
                accepting,
            }),
        })
    }

    /// Starts a proxy whose target is not known yet; until [`Proxy::lead_to`] it refuses
    /// connections. A relay has to know the address at which it is dialled before it starts (TR-9).
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn ahead() -> io::Result<Self> {
        let proxy = Self::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        proxy.refuse(true);
        Ok(proxy)
    }

    /// Directs new connections to a target, and no longer refuses them.
    pub fn lead_to(&self, target: SocketAddr) {
        self.set_target(target);
        self.refuse(false);
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Resets every open connection.
    pub fn cut(&self) {
        self.change(|conditions| conditions.cuts += 1);
    }

    /// Holds all data back. Sockets stay open, new ones are accepted; a bounded amount is buffered,
    /// then senders block.
    pub fn freeze(&self) {
        self.change(|conditions| conditions.frozen = true);
    }

    /// Lets only so many more bytes pass in each direction, over all connections, to within one
    /// read (16 KiB) of each of them; then it is as after [`Proxy::freeze`]. Whatever is slow
    /// meanwhile, a transfer does not get further than that. Another call sets the number anew.
    pub fn pass_only(&self, bytes: u64) {
        let Counters {
            to_target,
            to_client,
            ..
        } = self.counters();
        let stop_at = [to_target, to_client].map(|so_far| so_far.saturating_add(bytes));
        self.change(|conditions| conditions.stop_at = Some(stop_at));
    }

    /// Ends a freeze, or what [`Proxy::pass_only`] has stopped, and delivers the buffered data.
    pub fn thaw(&self) {
        self.change(|conditions| (conditions.frozen, conditions.stop_at) = (false, None));
    }

    /// Silently loses the path of every open connection, like a changed network address. They stay
    /// half-open until [`Proxy::cut`]. New connections work.
    pub fn blackhole(&self) {
        self.change(|conditions| conditions.holes += 1);
    }

    /// Sets whether new connections are reset at once.
    pub fn refuse(&self, refuse: bool) {
        self.change(|conditions| conditions.refusing = refuse);
    }

    /// Delays data read from now on in each direction.
    pub fn delay(&self, delay: Duration) {
        self.change(|conditions| conditions.delay = delay);
    }

    /// Loses this percentage of later reads once: each arrives after `again_after`, and later data
    /// waits for it, as in TCP.
    pub fn lose(&self, percent: u8, again_after: Duration) {
        self.change(|conditions| {
            conditions.lost_percent = percent;
            conditions.again_after = again_after;
        });
    }

    /// Redirects new connections, for example to a daemon that restarted on another port.
    pub fn set_target(&self, target: SocketAddr) {
        self.change(|conditions| conditions.target = target);
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

    fn change(&self, change: impl FnOnce(&mut LinkConditions)) {
        self.shared.conditions.send_modify(change);
    }
}

async fn accept(
    listener: TcpListener,
    conditions: watch::Receiver<LinkConditions>,
    totals: Arc<Totals>,
) {
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
        if conditions.borrow().refusing || connections.len() >= MAX_CONNECTIONS {
            totals.refused.fetch_add(1, Ordering::Relaxed);
            reset(&client);
            continue;
        }
        connections.spawn(connection(client, conditions.clone(), Arc::clone(&totals)));
    }
}

async fn connection(
    mut client: TcpStream,
    mut conditions: watch::Receiver<LinkConditions>,
    totals: Arc<Totals>,
) {
    let born = conditions.borrow().clone();
    let mut thawing = conditions.clone();
    let open = Open::new(&totals);
    let target = tokio::select! {
        target = reach(&mut thawing) => target,
        () = was_cut(&mut conditions, born.cuts) => None,
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
            (link::Way::ToTarget, &totals.to_target),
        );
        let down = link::carry(
            from_target,
            to_client,
            &thawing,
            (born.holes, 2 * number + 1),
            (link::Way::ToClient, &totals.to_client),
        );
        tokio::select! {
            ended = async { tokio::try_join!(up, down) } => ended.is_err(),
            () = was_cut(&mut conditions, born.cuts) => {
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

/// Connects to the target once the path is not frozen; `None` if the target is unreachable.
async fn reach(conditions: &mut watch::Receiver<LinkConditions>) -> Option<TcpStream> {
    let target = conditions
        .wait_for(|conditions| !conditions.frozen)
        .await
        .ok()?
        .target;
    TcpStream::connect(target).await.ok()
}

/// Ends at a cut after count `born`.
async fn was_cut(conditions: &mut watch::Receiver<LinkConditions>, born: u64) {
    // An error means that the proxy was dropped: every connection then ends.
    let _ = conditions
        .wait_for(|conditions| conditions.cuts > born)
        .await;
}

/// Makes the next close a reset instead of an orderly end.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Counts a connection as open while it exists.
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
