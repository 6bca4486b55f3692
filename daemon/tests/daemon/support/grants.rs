//! Devices that may do only so much, and the agents they work with.

use bowline_protocol::Offer;
use bowline_testkit::eventually;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{
    Install,
    client::{Attempt, Client},
    local::Local,
};
#[cfg(unix)]
use super::{TestDaemon, client::paired};

/// Pairs a device with this grant.
pub(crate) async fn paired_with(local: &mut Local, params: Value) -> (Install, Attempt, Client) {
    let created = local.call("pairing.create", params).await;
    let link = created["result"]["offer"].as_str();
    let offer: Offer = link.unwrap_or_else(|| panic!("{created}")).parse().unwrap();
    let install = Install::new();
    let attempt = Attempt::of_offer(&offer, &install);
    let client = attempt.connect().await;
    (install, attempt, client)
}

/// An intent of a client.
pub(crate) async fn intent(client: &mut Client, method: &str, mut params: Value) -> Value {
    params["intentId"] = json!(Uuid::now_v7().to_string());
    client.call(method, params).await
}

/// The reason of a refusal, or `none`.
pub(crate) fn reason(answer: &Value) -> &str {
    answer["error"]["data"]["reason"].as_str().unwrap_or("none")
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

/// Asks on the local socket until the answer is what is awaited.
pub(crate) async fn until<R>(
    local: &mut Local,
    what: &str,
    (method, params): (&str, Value),
    found: impl Fn(&Value) -> Option<R>,
) -> R {
    let local = Mutex::new(local);
    eventually(what, async || {
        let answer = local.lock().await.call(method, params.clone()).await;
        found(&answer["result"]).ok_or(answer)
    })
    .await
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
