//! A relay in this process, and clients that come through it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bowline_daemon::{config::RelayUrl, relay::RelayInfo};
use bowline_protocol::relay::client_path;
use bowline_relay::{
    Relay,
    config::{Limits, Settings},
};

use super::{
    Install, TestDaemon,
    client::{Attempt, Client},
    until,
};

/// A relay on a free port, quick to find out that somebody is gone.
pub(crate) async fn relay() -> (Relay, SocketAddr) {
    relay_with(|_| {}).await
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
    let mut patience = 200;
    loop {
        match Relay::start(settings.clone()).await {
            Ok(relay) => {
                let address = relay.addresses()[0];
                return (relay, address);
            }
            Err(error) => {
                patience -= 1;
                assert!(patience > 0, "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
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
    daemon.daemon.environment().relays.list()[n].clone()
}

pub(crate) async fn registered(daemon: &TestDaemon, n: usize) {
    until("the daemon is registered", || {
        shown(daemon, n).state == "registered"
    })
    .await;
}

impl Attempt {
    /// The same by way of a relay.
    pub(crate) fn through(mut self, relay: SocketAddr) -> Self {
        let route = self.install.session.route_key(&self.server);
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
