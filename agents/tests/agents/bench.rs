//! Agents on a ledger, called as a connection would call them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_agents::{Agents, AgentsOptions, PromptVia, Provider, ProviderKind, ProviderSettings};
use bowline_daemon::{
    ledger::SessionRef,
    service::{Context, Origin, Router},
};
use bowline_protocol::{ProviderInfo, TimelineItem, error::RpcError};
use bowline_testkit::eventually;
use serde_json::{Value, json, value::to_raw_value};

use crate::rig::{App, Link, Rig, intent_id};

/// Agents, and an app that uses them.
pub(crate) struct Bench {
    pub(crate) rig: Rig,
    pub(crate) agents: Agents,
    router: Router,
    pub(crate) app: App,
    pub(crate) link: Link,
}

pub(crate) fn provider(name: &str, command: &[&str], prompt: PromptVia) -> ProviderSettings {
    ProviderSettings {
        name: name.to_owned(),
        kind: ProviderKind::Command,
        command: command.iter().map(|&part| part.to_owned()).collect(),
        prompt,
        roots: None,
        title: None,
    }
}

pub(crate) fn options() -> AgentsOptions {
    AgentsOptions::new(vec![
        provider("shell", &["/bin/sh", "-c"], PromptVia::Argument),
        provider("cat", &["cat"], PromptVia::Stdin),
        provider("absent", &["/nonexistent/program"], PromptVia::Argument),
    ])
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: AgentsOptions) -> Self {
        let rig = Rig::new();
        let app = rig.paired().await;
        Self::on(rig, app, options).await
    }

    /// With providers that are code, made by the path of the store.
    pub(crate) async fn with_own(
        options: AgentsOptions,
        own: impl FnOnce(PathBuf) -> Vec<(ProviderInfo, Arc<dyn Provider>)>,
    ) -> Self {
        let rig = Rig::new();
        let app = rig.paired().await;
        let own = own(rig.options.path.clone());
        let agents = Agents::start_with(rig.ledger.clone(), options, own).await;
        Self::of(rig, app, agents.unwrap()).await
    }

    pub(crate) async fn on(rig: Rig, app: App, options: AgentsOptions) -> Self {
        let agents = Agents::start(rig.ledger.clone(), options).await.unwrap();
        Self::of(rig, app, agents).await
    }

    async fn of(rig: Rig, app: App, agents: Agents) -> Self {
        let mut router = Router::new();
        router.add(agents.clone()).unwrap();
        let link = rig.attach(&app).await.unwrap();
        Self {
            rig,
            agents,
            router,
            app,
            link,
        }
    }

    /// A `kill -9` of this daemon and the start of the next one.
    pub(crate) async fn kill(&self) -> Self {
        Self::on(self.rig.kill(), self.app.clone(), options()).await
    }

    pub(crate) fn session(&self) -> SessionRef {
        self.link.session().clone()
    }

    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let context = Context {
            ledger: self.rig.ledger.clone(),
            session: Some(self.session()),
            origin: Origin::Session,
            connection: self.link.attachment.connection(),
            max_message_bytes: 1 << 20,
        };
        let params = to_raw_value(&params).unwrap();
        let answer = self.router.answer(method, Some(&params), &context).await?;
        Ok(serde_json::from_str(answer.get()).unwrap())
    }

    pub(crate) async fn create(&self, provider: &str, prompt: Option<&str>) -> String {
        self.create_in(provider, prompt, self.rig.dir.path()).await
    }

    pub(crate) async fn create_in(
        &self,
        provider: &str,
        prompt: Option<&str>,
        cwd: &Path,
    ) -> String {
        let params = json!({
            "intentId": intent_id(), "provider": provider, "cwd": cwd, "prompt": prompt,
        });
        let created = self.call("agents.create", params).await.unwrap();
        created["agent"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn send(&self, agent: &str, text: &str) -> Result<Value, RpcError> {
        let params = json!({"intentId": intent_id(), "agentId": agent, "text": text});
        self.call("agents.send", params).await
    }

    pub(crate) async fn intent(&self, method: &str, agent: &str) -> Result<Value, RpcError> {
        let params = json!({"intentId": intent_id(), "agentId": agent});
        self.call(method, params).await
    }

    pub(crate) async fn subscribe(&self, agent: &str) {
        self.call("agents.subscribe", json!({"agentId": agent}))
            .await
            .unwrap();
    }

    /// The whole timeline, page by page.
    pub(crate) async fn timeline(&self, agent: &str) -> Vec<TimelineItem> {
        let mut items: Vec<TimelineItem> = Vec::new();
        let mut params = json!({"agentId": agent, "limit": 1000});
        loop {
            let page = self.call("agents.history", params.clone()).await.unwrap();
            let mut older: Vec<TimelineItem> =
                serde_json::from_value(page["items"].clone()).unwrap();
            older.append(&mut items);
            items = older;
            if page["hasMore"] == false {
                let indices: Vec<u64> = items.iter().map(|item| item.index).collect();
                let expected: Vec<u64> = (0..items.len() as u64).collect();
                assert_eq!(indices, expected, "a timeline has no gaps");
                return items;
            }
            params["before"] = json!(items[0].index);
        }
    }

    /// The agent's row.
    pub(crate) async fn row(&self, agent: &str) -> Value {
        let page = self.call("agents.list", json!({})).await.unwrap();
        let rows = page["agents"].as_array().unwrap();
        let row = rows.iter().find(|row| row["id"] == agent);
        row.unwrap().clone()
    }

    /// Waits until the timeline is as wanted.
    pub(crate) async fn until(
        &self,
        agent: &str,
        wanted: impl Fn(&[TimelineItem]) -> bool,
    ) -> Vec<TimelineItem> {
        eventually("the timeline is as wanted", async || {
            let items = self.timeline(agent).await;
            if wanted(&items) {
                Ok(items)
            } else {
                Err(items)
            }
        })
        .await
    }

    /// Waits for the end of so many turns.
    pub(crate) async fn turns(&self, agent: &str, count: usize) -> Vec<TimelineItem> {
        self.until(agent, |items| ends(items).len() >= count).await
    }
}

/// The ends of turns: status and exit code.
pub(crate) fn ends(items: &[TimelineItem]) -> Vec<(String, Option<i32>)> {
    items
        .iter()
        .filter_map(|item| {
            let status = serde_json::to_value(item.status?).unwrap();
            Some((status.as_str().unwrap().to_owned(), item.exit_code))
        })
        .collect()
}

/// What was printed to one stream.
pub(crate) fn printed(items: &[TimelineItem], stream: &str) -> String {
    items
        .iter()
        .filter(|item| {
            item.stream
                .is_some_and(|s| serde_json::to_value(s).unwrap() == stream)
        })
        .map(|item| item.text.as_str())
        .collect()
}

/// Whether a process runs; one that only waits to be collected does not.
pub(crate) fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    if cfg!(target_os = "linux") {
        return stat.is_ok_and(|stat| {
            let state = stat.rsplit(')').next().unwrap_or_default();
            !matches!(state.trim_start().chars().next(), Some('Z' | 'X') | None)
        });
    }
    std::process::Command::new("kill")
        .args(["-0", &pid.to_string()])
        .status()
        .is_ok_and(|status| status.success())
}

/// Waits until a process has ended.
pub(crate) async fn ended(pid: i32) {
    eventually(format!("process {pid} has ended"), async || !runs(pid)).await;
}
