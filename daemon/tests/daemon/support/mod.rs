//! What the scenarios are made of.

pub(crate) mod client;
pub(crate) mod fake_relay;
pub(crate) mod local;
pub(crate) mod methods;
pub(crate) mod program;
pub(crate) mod relay;

use std::{future::Future, net::SocketAddr, time::Duration};

use bowline_daemon::{
    clock::Clock,
    config::Settings,
    connection::{ConnectionInfo, Kind},
    daemon::Daemon,
    service::Services,
};
use bowline_protocol::{
    ClientSessionKey, DeviceId, DeviceKey, Offer, Reason, identity::random_bytes,
    offer::PairingToken,
};
use tempfile::TempDir;

/// No condition takes longer, however slow the machine; reaching it fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Bounds a wait.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long: {what}"),
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A daemon in this process, on a directory of its own.
pub(crate) struct TestDaemon {
    pub(crate) daemon: Daemon,
    _dir: TempDir,
}

impl TestDaemon {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(tweak: impl FnOnce(&mut Settings)) -> Self {
        Self::with_clock(Clock::system(), tweak).await
    }

    pub(crate) async fn with_clock(clock: Clock, tweak: impl FnOnce(&mut Settings)) -> Self {
        Self::start_with(methods::services(), clock, tweak).await
    }

    /// A daemon with those services.
    pub(crate) async fn of(services: Services, tweak: impl FnOnce(&mut Settings)) -> Self {
        Self::start_with(services, Clock::system(), tweak).await
    }

    async fn start_with(
        services: Services,
        clock: Clock,
        tweak: impl FnOnce(&mut Settings),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::for_state_dir(dir.path());
        tweak(&mut settings);
        let daemon = Daemon::start_with_clock(settings, services, clock).await;
        Self {
            daemon: daemon.unwrap(),
            _dir: dir,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.daemon.sessions()[0]
    }

    /// An offer with a fresh token.
    pub(crate) async fn offer(&self) -> Offer {
        let ledger = &self.daemon.environment().ledger;
        let pairing = ledger
            .create_pairing(Duration::from_secs(600))
            .await
            .unwrap();
        Offer {
            server_id: self.daemon.server_id().clone(),
            transport_key: self.daemon.environment().identity.transport.public(),
            token: pairing.token,
            name: "test".to_owned(),
            direct: vec![self.address().to_string()],
            relays: Vec::new(),
        }
    }

    /// Ends it in an orderly way.
    pub(crate) async fn stop(self, reason: Reason) {
        self.daemon.shutdown(reason).await;
    }

    pub(crate) fn connections(&self) -> Vec<ConnectionInfo> {
        let environment = self.daemon.environment();
        environment.registry.list(environment.clock.now())
    }

    pub(crate) async fn devices(&self) -> Vec<(DeviceId, bool)> {
        let devices = self.daemon.environment().ledger.devices().await.unwrap();
        let rows = devices.into_iter();
        rows.map(|device| (device.device_id, device.revoked))
            .collect()
    }

    pub(crate) async fn session_count(&self) -> usize {
        self.daemon
            .environment()
            .ledger
            .sessions()
            .await
            .unwrap()
            .len()
    }

    /// Waits until no remote connection is left, in whatever state.
    pub(crate) async fn quiet(&self) {
        self.quiet_but(0).await;
    }

    /// Waits until so many remote connections are left.
    pub(crate) async fn quiet_but(&self, left: usize) {
        until("the other remote connections are gone", || {
            let remote = |c: &&ConnectionInfo| c.kind != Some(Kind::Local);
            self.connections().iter().filter(remote).count() == left
        })
        .await;
    }
}

/// One app install.
#[derive(Clone)]
pub(crate) struct Install {
    pub(crate) key: DeviceKey,
    pub(crate) session: ClientSessionKey,
}

impl Install {
    pub(crate) fn new() -> Self {
        Self {
            key: DeviceKey::from_private(random_bytes().unwrap()),
            session: ClientSessionKey::from_random(random_bytes().unwrap()),
        }
    }

    pub(crate) fn device_id(&self) -> DeviceId {
        DeviceId::of_public_key(&self.key.public())
    }
}

/// A token that no daemon made.
pub(crate) fn stray_token() -> PairingToken {
    PairingToken::from_bytes(random_bytes().unwrap())
}
