//! A daemon with agents, and devices that work with them.

use bowline_daemon::config::Settings;
use bowline_testkit::eventually;
use serde_json::{Value, json};

use crate::support::{
    Install, TestDaemon,
    client::{Client, paired},
    grants::{intent, reason, until},
    local::Local,
    methods,
};

/// A daemon with agents and the methods of tests.
pub(crate) async fn daemon() -> TestDaemon {
    daemon_with(|_| {}).await
}

pub(crate) async fn daemon_with(tweak: impl FnOnce(&mut Settings)) -> TestDaemon {
    TestDaemon::of(bowline_agents::linked(methods::services()), tweak).await
}

/// Creates an agent that works in this folder; gives its id.
pub(crate) async fn agent(client: &mut Client, cwd: &std::path::Path) -> Value {
    let created = intent(
        client,
        "agents.create",
        json!({"provider": "shell", "cwd": cwd}),
    );
    let created = created.await;
    created["result"]["agent"]["id"].clone()
}

/// A device whose agent is at its first turn while a second one waits.
#[cfg(unix)]
pub(crate) struct Prompted {
    pub(crate) local: Local,
    pub(crate) install: Install,
    pub(crate) client: Client,
    pub(crate) agent: Value,
    /// The agent's folder.
    pub(crate) work: tempfile::TempDir,
}

#[cfg(unix)]
impl Prompted {
    /// A first turn that does not end by itself.
    pub(crate) const ENDLESS: &str = "touch began; sleep 1000";
    /// A first turn that ends once [`Prompted::go`] was called.
    pub(crate) const UNTIL_GO: &str = "touch began; while ! test -e go; do sleep 0.05; done";

    /// Pairs a device, sends both prompts, and waits until the first turn runs.
    pub(crate) async fn start(daemon: &TestDaemon, prompts: [&str; 2]) -> Self {
        let local = Local::connect(daemon).await;
        let work = tempfile::tempdir().unwrap();
        let (install, mut client) = paired(daemon).await;
        let agent = agent(&mut client, work.path()).await;
        for text in prompts {
            let params = json!({"agentId": agent, "text": text});
            let sent = intent(&mut client, "agents.send", params).await;
            assert_eq!(reason(&sent), "none", "{sent}");
        }
        let prompted = Self {
            local,
            install,
            client,
            agent,
            work,
        };
        eventually("the first turn runs", async || prompted.did("began")).await;
        prompted
    }

    /// Whether a file was made in the agent's folder.
    pub(crate) fn did(&self, file: &str) -> bool {
        self.work.path().join(file).exists()
    }

    /// Lets [`Prompted::UNTIL_GO`] end.
    pub(crate) fn go(&self) {
        std::fs::write(self.work.path().join("go"), "").unwrap();
    }

    /// Waits until so many turns have ended; gives how each did.
    pub(crate) async fn ends(&mut self, count: usize) -> Vec<Value> {
        turn_ends(&mut self.local, &self.agent, count).await
    }
}

/// Waits until so many turns of the agent have ended; gives how each did.
#[cfg(unix)]
async fn turn_ends(local: &mut Local, agent: &Value, count: usize) -> Vec<Value> {
    let asked = ("agents.history", json!({"agentId": agent}));
    until(local, "the turns have ended", asked, |page| {
        let items = page["items"].as_array()?.iter();
        let ends = items.filter(|item| item["kind"] == "turn_end");
        let ends: Vec<_> = ends.map(|item| item["status"].clone()).collect();
        (ends.len() == count).then_some(ends)
    })
    .await
}
