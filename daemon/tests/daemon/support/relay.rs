//! A relay in this process, and clients that come through it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bowline_daemon::{
    config::RelayUrl,
    relay::{RelayInfo, RelayState},
};
use bowline_protocol::relay::client_path;
use bowline_relay::{
    Relay,
    config::{Limits, Settings},
};
use bowline_testkit::{Proxy, eventually};

use super::{
    Install, TestDaemon,
    client::{Attempt, Client},
};

/// A relay on a free port, quick to find out that somebody is gone.
pub(crate) async fn relay() -> (Relay, SocketAddr) {
    relay_with(|_| {}).await
}

/// A relay whose daemons come through a proxy.
pub(crate) async fn relay_behind_proxy() -> (Relay, SocketAddr, Proxy) {
    let proxy = Proxy::ahead().await.unwrap();
    let origin = url(proxy.addr()).origin().clone();
    let (relay, address) = relay_with(|settings| settings.origin = vec![origin]).await;
    proxy.lead_to(address);
    (relay, address, proxy)
}

pub(crate) async fn relay_with(tweak: impl FnOnce(&mut Settings)) -> (Relay, SocketAddr) {
    let mut settings = Settings {
        listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        limits: Limits {
            heartbeat: Duration::from_millis(300),
            registrations_per_minute: 0,
            opens_per_minute: 0,
            ..Limits::default()
        },
        ..Settings::default()
    };
    tweak(&mut settings);
    // After a restart on the same port the kernel may hold it for a moment.
    let start = async || Relay::start(settings.clone()).await;
    let relay = eventually("the relay starts", start).await;
    let address = relay.addresses()[0];
    (relay, address)
}

pub(crate) fn url(address: SocketAddr) -> RelayUrl {
    format!("ws://{address}").parse().unwrap()
}

/// A daemon with those relays, registered with all of them.
pub(crate) async fn daemon_at(relays: &[SocketAddr]) -> TestDaemon {
    let daemon = TestDaemon::with(|settings| {
        settings.relay = relays.iter().copied().map(url).collect();
    })
    .await;
    for n in 0..relays.len() {
        registered(&daemon, n).await;
    }
    daemon
}

/// What the daemon says about its relay of that number.
pub(crate) fn shown(daemon: &TestDaemon, n: usize) -> RelayInfo {
    daemon.daemon.relays().list()[n].clone()
}

pub(crate) async fn registered(daemon: &TestDaemon, n: usize) {
    eventually("the daemon is registered", async || {
        shown(daemon, n).state == RelayState::Registered
    })
    .await;
}

impl Attempt {
    /// The same by way of a relay.
    pub(crate) fn through(mut self, relay: SocketAddr) -> Self {
        let route = self.install.route(&self.server);
        self.address = relay;
        self.path = client_path(&self.server, &route);
        self
    }
}

/// A paired install whose first connection came through the relay.
pub(crate) async fn paired_through(daemon: &TestDaemon, relay: SocketAddr) -> (Install, Client) {
    let install = Install::new();
    let offer = daemon.offer().await;
    let attempt = Attempt::of_offer(&offer, &install).through(relay);
    let mut client = attempt.connect().await;
    assert!(client.is_served().await);
    (install, client)
}
