//! Agents: their directory, timelines and the programs that run them (`docs/protocol.md` §4).
//!
//! A mutating method runs as an intent, in one transaction with its outcome; what has to happen in the
//! world, starting and ending programs, follows its commit. Everything a turn prints is durable before a
//! client sees it.

mod command;
mod direct;
mod environment;
mod fit;
#[cfg(unix)]
mod launched;
#[cfg(unix)]
mod launcher;
mod leftovers;
mod methods;
mod process;
mod program;
mod prompt;
mod provider;
mod supervisor;
mod text;
mod timeline;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bowline_protocol::{
    ProviderInfo, RpcReason,
    error::RpcError,
    methods::{
        AgentIntent, AgentRef, CreateAgent, Empty, History, ListAgents, PromptSent, Providers,
        Respond, SendPrompt, name,
    },
};
use serde_json::value::RawValue;

#[cfg(unix)]
pub(crate) use self::launcher::{ARGUMENT as LAUNCHER_ARGUMENT, main as launcher_main};
use self::{
    command::CommandProvider,
    methods::AgentsPage,
    process::Starter,
    prompt::Template,
    supervisor::Supervisor,
    timeline::{Page, Range},
};
pub use self::{
    program::{Launcher, LauncherProgram},
    provider::{Provider, Run, Stop, Turn, TurnEnd},
};
use crate::{
    blocking::{Blocking, BlockingError},
    config::{ProviderKind, ProviderSettings},
    ledger::{Ledger, Reader, Tx},
    service::{Methods, Request, Service, answer},
};

/// Folders looked at at once, those that hang included; while so many hang, new agents' folders are not looked at.
const FOLDERS: usize = 16;
/// How long a folder may take to answer.
const FOLDER_DEADLINE: Duration = Duration::from_secs(5);

/// Settings of the agents service.
#[derive(Clone, Debug)]
pub struct AgentsOptions {
    /// In the order clients see them. An unknown kind or a duplicate name is an error at start.
    pub providers: Vec<ProviderSettings>,
    /// Output kept of one turn, in bytes; the rest is read and dropped, and the timeline says so.
    pub max_output_bytes: usize,
    /// Turns running at once; further ones wait.
    pub max_runs: usize,
    /// Agents kept; a new one over it is answered with `overloaded`.
    pub max_agents: u64,
    /// How programs are started.
    pub launcher: Launcher,
}

impl AgentsOptions {
    /// These providers, and the default bounds.
    pub fn new(providers: Vec<ProviderSettings>) -> Self {
        Self {
            providers,
            max_output_bytes: 8 << 20,
            max_runs: 64,
            max_agents: 100_000,
            launcher: Launcher::None,
        }
    }
}

/// The service. Clones are the same one.
#[derive(Clone)]
pub struct Agents {
    supervisor: Arc<Supervisor>,
    providers: Arc<[ProviderInfo]>,
    max_agents: u64,
    /// Looks at folders of the user's choice.
    folders: Blocking,
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// Two providers have one name.
    #[error("two providers are named `{0}`: rename one of them")]
    DuplicateProvider(String),
    /// A provider's command line is none.
    #[error("provider `{name}` {problem}")]
    Command {
        /// Its name.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A provider is of a kind this daemon has no implementation of.
    #[error(
        "provider `{name}` is of kind `{kind}`, which this daemon cannot run: only `command` can be"
    )]
    UnsupportedKind {
        /// Its name.
        name: String,
        /// Its kind.
        kind: &'static str,
    },
    /// The store failed.
    #[error("cannot bring the agents back: {0}")]
    Store(#[from] RpcError),
}

/// Providers by their names.
type ByName = HashMap<String, Arc<dyn Provider>>;

/// Makes providers of their settings.
fn build(
    all: Vec<ProviderSettings>,
    starter: &Starter,
) -> Result<(Vec<ProviderInfo>, ByName), AgentsError> {
    let mut infos = Vec::with_capacity(all.len());
    let mut providers = ByName::new();
    for settings in all {
        let ProviderSettings {
            name,
            kind,
            command,
            prompt,
            title,
        } = settings;
        let provider: Arc<dyn Provider> = match kind {
            ProviderKind::Command => Arc::new(CommandProvider {
                template: Template::new(command, prompt).map_err(|problem| {
                    AgentsError::Command {
                        name: name.clone(),
                        problem,
                    }
                })?,
                starter: starter.clone(),
            }),
            ProviderKind::Acp => {
                return Err(AgentsError::UnsupportedKind {
                    name,
                    kind: kind.as_str(),
                });
            }
        };
        infos.push(ProviderInfo {
            title: title.unwrap_or_else(|| name.clone()),
            kind: kind.as_str().to_owned(),
            name: name.clone(),
        });
        if providers.insert(name.clone(), provider).is_some() {
            return Err(AgentsError::DuplicateProvider(name));
        }
    }
    Ok((infos, providers))
}

/// Whether agents can be made of these providers, without making any.
///
/// # Errors
/// What [`Agents::start`] would say.
pub(crate) fn check(providers: &[ProviderSettings]) -> Result<(), AgentsError> {
    build(providers.to_vec(), &Starter::new(Launcher::None)).map(|_| ())
}

impl Agents {
    /// Ends what a killed daemon left running, marks interrupted turns, starts queued ones. Needs a tokio
    /// runtime with I/O and time.
    ///
    /// # Errors
    /// When the providers are configured wrongly or the ledger cannot write.
    pub async fn start(ledger: Ledger, options: AgentsOptions) -> Result<Self, AgentsError> {
        let (infos, providers) = build(options.providers, &Starter::new(options.launcher))?;
        let supervisor = Supervisor::new(
            ledger,
            providers,
            options.max_runs,
            options.max_output_bytes,
        );
        supervisor.recover().await?;
        Ok(Self {
            supervisor,
            providers: infos.into(),
            max_agents: options.max_agents,
            folders: Blocking::new("folder", FOLDERS, FOLDER_DEADLINE),
        })
    }

    /// Ends every running turn (its process group too) and returns once they are gone and recorded, or
    /// after a few seconds. To be called before the ledger is shut down.
    pub async fn shutdown(&self) {
        self.supervisor.stop().await;
    }

    fn providers(&self, _: Empty) -> Result<Providers, RpcError> {
        Ok(Providers {
            providers: self.providers.to_vec(),
        })
    }

    fn list(&self, reader: &Reader<'_>, params: ListAgents) -> Result<AgentsPage, RpcError> {
        methods::list(reader, &params)
    }

    fn history(&self, reader: &Reader<'_>, params: History) -> Result<Page, RpcError> {
        let range = Range {
            before: params.before,
            after: params.after,
            limit: params.limit,
        };
        timeline::history(reader, &params.agent_id, range)
    }

    async fn create(
        self: Arc<Self>,
        request: Request,
        params: CreateAgent,
    ) -> Result<Box<RawValue>, RpcError> {
        // The verdict counts only if the intent really runs: one that has succeeded stays so, whatever became of
        // its directory.
        let cwd_verdict = self.check_cwd(&params.cwd).await;
        let intent_id = params.intent_id;
        request
            .intent(intent_id, move |tx| {
                cwd_verdict?;
                if let Some(prompt) = &params.prompt {
                    methods::check_prompt("prompt", prompt)?;
                }
                let created = methods::create(tx, &self.supervisor, params, self.max_agents)?;
                answer(&created)
            })
            .await
    }

    /// Whether an agent can work there.
    async fn check_cwd(&self, cwd: &str) -> Result<(), RpcError> {
        let checked = cwd.to_owned();
        match self.folders.run(move || methods::check_cwd(&checked)).await {
            Ok(verdict) => verdict,
            Err(BlockingError::Deadline(waited)) => Err(RpcError::invalid_params(format!(
                "the folder `{cwd}` does not answer within {} s: the file system it is on hangs; check the mount",
                waited.as_secs()
            ))),
            // Other folders hang, and this one need not: what is wrong with it is told by its first turn.
            Err(BlockingError::Busy | BlockingError::NoThread) => Ok(()),
        }
    }

    fn send(&self, tx: &mut Tx<'_>, params: SendPrompt) -> Result<PromptSent, RpcError> {
        methods::check_prompt("text", &params.text)?;
        methods::send(tx, &self.supervisor, params)
    }

    fn cancel(&self, tx: &mut Tx<'_>, params: AgentIntent) -> Result<Empty, RpcError> {
        methods::cancel(tx, &self.supervisor, &params.agent_id)
    }

    fn archive(&self, tx: &mut Tx<'_>, params: AgentIntent) -> Result<Empty, RpcError> {
        methods::archive(tx, &self.supervisor, &params.agent_id)
    }

    fn respond(&self, tx: &mut Tx<'_>, params: Respond) -> Result<Empty, RpcError> {
        let row = timeline::find(tx.conn(), &params.agent_id)?;
        let provider = self
            .supervisor
            .provider(&row.summary.provider)
            .ok_or_else(|| RpcError::new(RpcReason::NotFound, "the agent's provider is gone"))?;
        provider.respond(&params.agent_id, &params.permission_id, &params.option_id)?;
        Ok(Empty {})
    }

    fn subscribe(&self, tx: &mut Tx<'_>, params: AgentRef) -> Result<Empty, RpcError> {
        timeline::find(tx.conn(), &params.agent_id)?;
        tx.follow(&params.agent_id)?;
        Ok(Empty {})
    }

    fn unsubscribe(&self, tx: &mut Tx<'_>, params: AgentRef) -> Result<Empty, RpcError> {
        tx.unfollow(&params.agent_id)?;
        Ok(Empty {})
    }
}

impl Service for Agents {
    fn methods(methods: &mut Methods<Self>) {
        methods.now(name::PROVIDERS_LIST, Self::providers);
        methods.read(name::AGENTS_LIST, Self::list);
        methods.method(name::AGENTS_CREATE, Self::create);
        methods.intent(name::AGENTS_SEND, Self::send);
        methods.intent(name::AGENTS_CANCEL, Self::cancel);
        methods.intent(name::AGENTS_ARCHIVE, Self::archive);
        methods.intent(name::AGENTS_RESPOND, Self::respond);
        methods.read(name::AGENTS_HISTORY, Self::history);
        methods.write(name::AGENTS_SUBSCRIBE, Self::subscribe);
        methods.write(name::AGENTS_UNSUBSCRIBE, Self::unsubscribe);
    }
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents")
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}
