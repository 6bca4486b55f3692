//! An app: a whole runtime, with proxies between it and the daemon that cut, refuse and lead
//! elsewhere.

use std::sync::Arc;

use bowline_daemon::setup::Services;
use bowline_protocol::ServerId;
use bowline_runtime::{HostSnapshot, HostState, Intent, Outcome, Runtime};
use bowline_testkit::{Proxy, world::quick_settings};
use serde_json::Value;
use tempfile::TempDir;

use super::{TestDaemon, live::Board, within};

pub(crate) fn board() -> Services {
    Services::none().with(Board)
}

/// An app that has paired through proxies.
pub(crate) struct App {
    pub(crate) runtime: Runtime,
    pub(crate) host: ServerId,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) folder: TempDir,
}

impl App {
    pub(crate) async fn paired(daemon: &TestDaemon, paths: usize) -> Self {
        let mut proxies = Vec::new();
        for _ in 0..paths {
            proxies.push(Proxy::start(daemon.address()).await.unwrap());
        }
        Self::paired_over(daemon, proxies, None).await
    }

    /// An app that has paired through these proxies, and through a relay behind another one, which
    /// is the last of its proxies.
    pub(crate) async fn paired_over(
        daemon: &TestDaemon,
        mut proxies: Vec<Proxy>,
        relay: Option<Proxy>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::open(folder.path(), quick_settings(1)).unwrap();
        let mut offer = daemon.offer().await;
        let addresses = proxies.iter().map(Proxy::addr);
        offer.direct = addresses.map(|address| address.to_string()).collect();
        offer.relays = relay
            .iter()
            .map(|relay| format!("ws://{}", relay.addr()))
            .collect();
        proxies.extend(relay);
        let record = within("paired", runtime.pair(&offer)).await.unwrap();
        let app = Self {
            runtime,
            host: record.server_id,
            proxies,
            folder,
        };
        app.until(HostState::Online).await;
        app
    }

    pub(crate) async fn until(&self, state: HostState) {
        let mut snapshots = self.runtime.subscribe();
        let is_it = |host: &Arc<HostSnapshot>| host.state == state;
        let found = snapshots.wait_for(|snapshot| snapshot.hosts.iter().any(is_it));
        within("the state", found).await.unwrap();
    }

    /// Has the daemon do something once; gives the result.
    pub(crate) async fn run(&self, method: &str, params: Value) -> Value {
        let Value::Object(params) = params else {
            panic!("an object");
        };
        let method = method.to_owned();
        let intent = Intent::Custom { method, params };
        let submitted = self.runtime.send(&self.host, intent).unwrap();
        let outcome = within("the outcome", submitted.outcome()).await;
        match outcome {
            Some(Outcome::Done { result, .. }) => serde_json::from_str(&result).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Step `n` of a bad network for an app with two paths: one after the other is cut and stays
    /// away for some steps, and at times both are.
    pub(crate) fn disturb(&self, n: u64) {
        let (one, two) = (&self.proxies[0], &self.proxies[1]);
        match n % 12 {
            1 => {
                one.refuse(true);
                one.cut();
            }
            5 => {
                one.refuse(false);
                two.refuse(true);
                two.cut();
            }
            8 => two.refuse(false),
            10 => {
                one.cut();
                two.cut();
            }
            _ => {}
        }
    }

    /// Every path works again.
    pub(crate) fn heal(&self) {
        for proxy in &self.proxies {
            proxy.refuse(false);
            proxy.thaw();
        }
    }

    /// Ends the app and starts it again on the same storage.
    pub(crate) async fn restart(&mut self) {
        self.runtime.close().await;
        self.runtime = Runtime::open(self.folder.path(), quick_settings(1)).unwrap();
    }
}
