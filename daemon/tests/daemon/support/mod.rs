//! What the scenarios are made of.

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod diary;
pub(crate) mod fake_relay;
pub(crate) mod foreign;
pub(crate) mod gallery;
pub(crate) mod grants;
pub(crate) mod live;
pub(crate) mod local;
pub(crate) mod methods;
pub(crate) mod relay;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_daemon::{
    clock::Clock,
    config::Settings,
    connection::{ConnectionInfo, Kind},
    daemon::Daemon,
    setup::Services,
};
use bowline_protocol::{
    ClientSessionKey, DeviceId, DeviceKey, Offer, Reason, RouteKey, ServerId,
    identity::{KeyId, PairingSecret, PresharedKey, random_bytes},
    offer::PairingToken,
};
use bowline_testkit::eventually;
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

    /// Ends it and starts it again on the same state, at another address.
    pub(crate) async fn again(self, services: Services) -> Self {
        self.again_after(services, || {}).await
    }

    /// [`TestDaemon::again`], with something done to its state while it does not run.
    pub(crate) async fn again_after(self, services: Services, meanwhile: impl FnOnce()) -> Self {
        let Self { daemon, _dir } = self;
        daemon.shutdown(Reason::ServerRestarting).await;
        meanwhile();
        let settings = Settings::for_state_dir(_dir.path());
        let daemon = Daemon::start(settings, services).await.unwrap();
        Self { daemon, _dir }
    }

    /// Its state directory.
    pub(crate) fn state_dir(&self) -> &std::path::Path {
        self._dir.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.daemon.sessions()[0]
    }

    /// An offer with a fresh token.
    pub(crate) async fn offer(&self) -> Offer {
        let ledger = self.daemon.ledger();
        let pairing = ledger
            .create_pairing(
                Duration::from_secs(600),
                false,
                bowline_daemon::ledger::OfferedGrant::default(),
            )
            .await
            .unwrap();
        Offer {
            server_id: self.daemon.server_id().clone(),
            transport_key: self.daemon.identity().transport.public(),
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
        self.daemon
            .registry()
            .list(self.daemon.ledger().clock().now())
    }

    pub(crate) async fn devices(&self) -> Vec<(DeviceId, bool)> {
        let devices = self.daemon.ledger().devices().await.unwrap();
        let rows = devices.into_iter();
        rows.map(|device| (device.device_id, device.revoked))
            .collect()
    }

    pub(crate) async fn session_count(&self) -> usize {
        self.daemon.ledger().sessions().await.unwrap().len()
    }

    /// Waits until no remote connection is left, in whatever state.
    pub(crate) async fn quiet(&self) {
        self.quiet_but(0).await;
    }

    /// Waits until so many remote connections are left.
    pub(crate) async fn quiet_but(&self, left: usize) {
        eventually("the other remote connections are gone", async || {
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
    pub(crate) secret: PairingSecret,
    /// The key shared with the daemon it paired with last.
    psk: Arc<Mutex<PresharedKey>>,
}

impl Install {
    pub(crate) fn new() -> Self {
        Self {
            key: DeviceKey::from_private(random_bytes().unwrap()),
            session: ClientSessionKey::from_random(random_bytes().unwrap()),
            secret: PairingSecret::from_bytes(random_bytes().unwrap()),
            psk: Arc::new(Mutex::new(PresharedKey::NONE)),
        }
    }

    pub(crate) fn psk(&self) -> PresharedKey {
        self.psk.lock().unwrap().clone()
    }

    /// The same install with the key of today, whatever it pairs with later.
    pub(crate) fn as_of_now(&self) -> Self {
        Self {
            psk: Arc::new(Mutex::new(self.psk())),
            ..self.clone()
        }
    }

    pub(crate) fn key_id(&self) -> Option<KeyId> {
        let psk = self.psk();
        (psk != PresharedKey::NONE).then(|| psk.id())
    }

    pub(crate) fn paired_by(&self, offer: &PresharedKey) {
        *self.psk.lock().unwrap() = PresharedKey::of_device(offer, &self.secret);
    }

    /// What a relay knows its session at that daemon by.
    pub(crate) fn route(&self, server: &ServerId) -> RouteKey {
        RouteKey::of_device(&self.key.public(), server)
    }

    pub(crate) fn device_id(&self) -> DeviceId {
        DeviceId::of_public_key(&self.key.public())
    }
}

/// A token that no daemon made.
pub(crate) fn stray_token() -> PairingToken {
    PairingToken::from_bytes(random_bytes().unwrap())
}
