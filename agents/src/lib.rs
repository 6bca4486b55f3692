//! Agents: their directory, timelines and the programs that run them (`docs/protocol.md` §4).
//!
//! A mutating method runs as an intent, in one transaction with its outcome. Starting and ending
//! programs follows the commit. Everything a turn prints is durable before a client sees it.
//!
//! The crate is a service on the public interface of `bowline_daemon`, as an author's would be.
//! [`linked_to`] gives a program agents, [`linked`] a daemon in code; [`Agents`] is the service.
//!
//! | modules | own |
//! |---|---|
//! | `directory`, `timeline`, `queue` | what is stored: agents, items of timelines, turns to run |
//! | `methods`, `grants`, `fit` | what clients call, what a device may do, and answers that fit |
//! | `aging`, `retention` | what is old, and dropping it |
//! | `supervisor` | which turn runs next, and running it |
//! | [`Provider`], `command`, `prompt`, `roots` | how a turn is run, by a program or by code |
//! | `process`, `direct`, `launched`, `launcher`, `leftovers` | programs: started, ended, found again |
//! | `settings`, `limits`, `program` | sections of the daemon's file, and the launcher's program |

mod aging;
mod command;
mod direct;
mod directory;
mod environment;
mod fit;
mod grants;
#[cfg(unix)]
mod launched;
#[cfg(unix)]
mod launcher;
mod leftovers;
mod limits;
mod methods;
mod process;
mod program;
mod prompt;
mod provider;
mod queue;
mod retention;
mod roots;
mod settings;
mod supervisor;
mod text;
mod timeline;

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use bowline_daemon::{
    Program,
    blocking::{Blocking, BlockingError},
    config::{ConfigError, Settings},
    ledger::{Ledger, Reader, Tx},
    process::Process,
    rpc::answer,
    service::{Made, Methods, Request, RevokedDevice, Service},
    setup::{Services, Setup},
};
use bowline_protocol::{
    AgentId, DeviceId, ProviderInfo, PublicKey, Role, RpcReason,
    error::RpcError,
    live::Scope,
    methods::{AgentCreated, AgentRef, CreateAgent, Empty, History, Providers, Respond, name},
};

use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    command::CommandProvider,
    directory::AGENTS,
    limits::AGENTS_PER_DEVICE,
    process::Starter,
    prompt::Template,
    retention::Keeper,
    roots::Roots,
    supervisor::Supervisor,
    timeline::{Page, TIMELINE},
};
pub use self::{
    limits::{AgentLimits, LIMITS},
    program::{Launcher, LauncherProgram},
    provider::{Provider, Run, Stop, Turn, TurnEnd},
    retention::Retention,
    settings::{PROVIDERS, PromptVia, ProviderKind, ProviderSettings},
};

/// Concurrent folder checks, including blocked ones; while all are blocked, new agents' folders are
/// not checked.
const FOLDERS: usize = 16;
/// Time for a folder to respond.
const FOLDER_DEADLINE: Duration = Duration::from_secs(5);

/// Links the agents to a program: the service, its settings and the launcher's command.
///
/// ```no_run
/// use bowline_daemon::Program;
///
/// let program = Program::new("voxel-daemon", "1.0");
/// let ended = bowline_daemon::run(bowline_agents::linked_to(program));
/// ```
#[must_use]
pub fn linked_to(program: Program) -> Program {
    let program = program.section(PROVIDERS).section(LIMITS).starting(start);
    #[cfg(unix)]
    let program = program.hidden(launcher::ARGUMENT, launcher::main);
    program
}

/// Links the agents to a daemon that is started without a program, with the settings of
/// [`PROVIDERS`] and [`LIMITS`].
#[must_use]
pub fn linked(services: Services) -> Services {
    services.starting(start)
}

async fn start(setup: Setup) -> Result<Agents, Box<dyn std::error::Error + Send + Sync>> {
    let options = AgentsOptions::of(&setup.settings)?;
    Ok(Agents::start(setup.ledger, options).await?)
}

/// Settings of the agents service.
#[derive(Clone, Debug)]
pub struct AgentsOptions {
    /// In the order of listings. An unknown kind or a duplicate name is an error at start.
    pub providers: Vec<ProviderSettings>,
    /// Output kept of one turn in bytes; the rest is read and dropped, and the timeline says so.
    pub max_output_bytes: usize,
    /// Turns running at once; further turns wait.
    pub max_runs: usize,
    /// Agents kept; over it a new agent is answered with `overloaded`.
    pub max_agents: u64,
    /// Agents kept for one device, archived ones included; over it a new one is answered with
    /// `quota_exceeded`. Zero = unbounded. The local socket counts as one device.
    pub agents_per_device: u64,
    /// How much of timelines is kept, and how long (TR-12).
    pub retention: Retention,
    /// How programs are started.
    pub launcher: Launcher,
}

impl AgentsOptions {
    /// What a daemon's settings say: its providers, and whether this program has the launcher's
    /// command.
    fn of(settings: &Settings) -> Result<Self, ConfigError> {
        let inherited = settings.inherited.clone();
        let limits = settings.section(&LIMITS)?;
        Ok(Self {
            launcher: inherited.map_or(Launcher::None, Launcher::this_program),
            agents_per_device: limits.agents_per_device,
            retention: limits.retention(),
            ..Self::new(settings.section(&PROVIDERS)?.to_vec())
        })
    }

    /// The settings with these providers and the default limits.
    pub fn new(providers: Vec<ProviderSettings>) -> Self {
        Self {
            providers,
            max_output_bytes: 4 << 20,
            max_runs: 32,
            max_agents: 100_000,
            agents_per_device: AGENTS_PER_DEVICE,
            retention: Retention::default(),
            launcher: Launcher::None,
        }
    }
}

/// The agents service. Clones share one service.
#[derive(Clone)]
pub struct Agents {
    supervisor: Arc<Supervisor>,
    providers: Arc<[ProviderInfo]>,
    max_agents: u64,
    agents_per_device: u64,
    /// Checks folders that clients chose.
    folders: Blocking,
}

/// Which rows of the directory a client follows: of one agent, or all.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OfAgents {
    #[serde(default)]
    agent_id: Option<AgentId>,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// Two providers have one name.
    #[error("two providers are named `{0}`: rename one of them")]
    DuplicateProvider(String),
    /// A provider's command line or its roots are invalid.
    #[error("provider `{name}` {problem}")]
    Command {
        /// Its name.
        name: String,
        /// The problem and how to correct it.
        problem: String,
    },
    /// A provider's kind is not supported by this daemon.
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
    #[error("cannot restore the agents: {0}")]
    Store(#[from] RpcError),
}

/// Providers by name.
type ByName = HashMap<String, Arc<dyn Provider>>;

/// Creates providers from their settings.
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
            roots,
            title,
        } = settings;
        let wrong = |problem: String| AgentsError::Command {
            name: name.clone(),
            problem,
        };
        let provider: Arc<dyn Provider> = match kind {
            ProviderKind::Command => Arc::new(CommandProvider {
                template: Template::new(command, prompt).map_err(wrong)?,
                roots: roots
                    .map(|roots| Roots::parse(&roots))
                    .transpose()
                    .map_err(|error| wrong(error.to_string()))?
                    .unwrap_or_default(),
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

/// Checks that the service can start with these providers, without starting it.
///
/// # Errors
/// As [`Agents::start`].
pub(crate) fn check(providers: &[ProviderSettings]) -> Result<(), AgentsError> {
    build(providers.to_vec(), &Starter::new(Launcher::None)).map(|_| ())
}

impl Agents {
    /// Ends processes left by a killed daemon, marks interrupted turns, and starts queued turns.
    /// Whoever starts it without a daemon also tells it of the lock ([`Service::lock_changed`]) and
    /// of the end.
    /// Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// When the providers are configured wrongly or the ledger cannot write.
    pub async fn start(ledger: Ledger, options: AgentsOptions) -> Result<Self, AgentsError> {
        Self::start_with(ledger, options, Vec::new()).await
    }

    /// [`Agents::start`] with additional providers implemented by the caller, listed after the
    /// configured ones.
    ///
    /// # Errors
    /// As [`Agents::start`].
    pub async fn start_with(
        ledger: Ledger,
        options: AgentsOptions,
        own: Vec<(ProviderInfo, Arc<dyn Provider>)>,
    ) -> Result<Self, AgentsError> {
        let (mut infos, mut providers) = build(options.providers, &Starter::new(options.launcher))?;
        for (info, provider) in own {
            if providers.insert(info.name.clone(), provider).is_some() {
                return Err(AgentsError::DuplicateProvider(info.name));
            }
            infos.push(info);
        }
        let folders = Blocking::new("folder", FOLDERS, FOLDER_DEADLINE);
        let keeper = Keeper::start(ledger.clone(), options.retention);
        let supervisor = Supervisor::new(
            ledger,
            keeper,
            providers,
            options.max_runs,
            options.max_output_bytes,
            folders.clone(),
        );
        supervisor.recover().await?;
        Ok(Self {
            supervisor,
            providers: infos.into(),
            max_agents: options.max_agents,
            agents_per_device: options.agents_per_device,
            folders,
        })
    }

    /// Ends the turns that a device asked for, running and waiting ones (TR-5); returns how many.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn end_turns_of(&self, device: PublicKey) -> Result<u64, RpcError> {
        self.supervisor.end_turns_of(device).await
    }

    /// Ends every running turn with its processes, and returns once they are gone and recorded, or
    /// after a few seconds. It must run before the ledger's shutdown.
    pub async fn shutdown(&self) {
        self.supervisor.stop().await;
    }

    fn providers(&self, _: Empty) -> Result<Providers, RpcError> {
        Ok(Providers {
            providers: self.providers.to_vec(),
        })
    }

    fn history(&self, reader: &Reader<'_>, params: History) -> Result<Page, RpcError> {
        timeline::history(reader, &params)
    }

    async fn create(
        self: Arc<Self>,
        request: Request,
        params: CreateAgent,
    ) -> Result<Made<AgentCreated>, RpcError> {
        // The check applies only if the intent really runs: a repeated intent keeps its stored
        // success, whatever happened to its directory.
        let roots = request.session()?.grant().roots.clone();
        let cwd_verdict = self.check_cwd(&params, roots).await;
        let intent_id = params.intent_id;
        request
            .intent(intent_id, move |tx| {
                let mut params = params;
                if let Some(real) = cwd_verdict? {
                    params.cwd = real;
                }
                if let Some(prompt) = &params.prompt {
                    methods::check_prompt("prompt", prompt)?;
                }
                answer(&self.create_checked(tx, params)?)
            })
            .await
            .map(Made::from)
    }

    /// Checks that an agent of the provider may and can work in the folder. With roots of a device,
    /// the folder is returned without links.
    async fn check_cwd(
        &self,
        params: &CreateAgent,
        roots: Option<Vec<String>>,
    ) -> Result<Option<String>, RpcError> {
        let cwd = &params.cwd;
        let (checked, provider) = (cwd.clone(), self.supervisor.provider(&params.provider));
        let provider = provider.map(Arc::clone);
        let allowed = move |folder: &Path| match &provider {
            Some(provider) => provider.check_folder(folder),
            // Refused below, for another reason.
            None => Ok(()),
        };
        let is_limited = roots.is_some();
        let check = move || {
            methods::check_cwd(&checked, allowed)?;
            roots
                .map(|roots| grants::within(&checked, &roots))
                .transpose()
        };
        match self.folders.run(check).await {
            Ok(verdict) => verdict,
            Err(BlockingError::Deadline(waited)) => Err(RpcError::invalid_params(format!(
                "the folder `{cwd}` does not answer within {} s: the file system it is on hangs; check the mount",
                waited.as_secs()
            ))),
            // Other folders are blocked, and this one need not be: its first turn reports a
            // problem, and checks the provider's roots.
            Err(BlockingError::Busy | BlockingError::NoThread) if is_limited => Err(RpcError::new(
                RpcReason::Overloaded,
                "the folder could not be checked against what this device may use; send it again later",
            )),
            Err(BlockingError::Busy | BlockingError::NoThread) => Ok(None),
        }
    }

    fn respond(&self, tx: &mut Tx<'_>, params: Respond) -> Result<Empty, RpcError> {
        let summary = directory::summary(tx, &params.agent_id)?;
        grants::check(tx.grant(), &summary)?;
        let provider = self
            .supervisor
            .provider(&summary.provider)
            .ok_or_else(|| RpcError::new(RpcReason::NotFound, "the agent's provider is gone"))?;
        provider.respond(&params.agent_id, &params.permission_id, &params.option_id)?;
        Ok(Empty {})
    }

    /// What the parameters of a client that follows the table `agents` stand for.
    fn scope(&self, _: &Reader<'_>, of: OfAgents) -> Result<Scope, RpcError> {
        match of.agent_id {
            Some(id) => Scope::row(id.as_str()),
            None => Ok(Scope::all()),
        }
    }

    /// The log that a client follows.
    ///
    /// # Errors
    /// `not_found`.
    fn timeline(&self, reader: &Reader<'_>, of: AgentRef) -> Result<Scope, RpcError> {
        directory::summary(reader, &of.agent_id)?;
        Scope::row(of.agent_id.as_str())
    }

    fn subscribe(&self, tx: &mut Tx<'_>, params: AgentRef) -> Result<Empty, RpcError> {
        directory::summary(tx, &params.agent_id)?;
        tx.follow(params.agent_id.as_str())?;
        Ok(Empty {})
    }

    fn unsubscribe(&self, tx: &mut Tx<'_>, params: AgentRef) -> Result<Empty, RpcError> {
        tx.unfollow(params.agent_id.as_str())?;
        Ok(Empty {})
    }
}

impl Service for Agents {
    fn methods(methods: &mut Methods<Self>) {
        methods.table_for(&AGENTS, Self::scope);
        methods.log_for(&TIMELINE, Self::timeline);
        methods.now(name::PROVIDERS_LIST, Self::providers);
        methods.read(name::AGENTS_LIST, Self::list);
        methods.method(name::AGENTS_CREATE, Self::create);
        methods
            .intent(name::AGENTS_SEND, Self::send)
            .role(Role::Operator);
        methods
            .intent(name::AGENTS_CANCEL, Self::cancel)
            .role(Role::Operator);
        methods.intent(name::AGENTS_ARCHIVE, Self::archive);
        methods
            .intent(name::AGENTS_RESPOND, Self::respond)
            .role(Role::Operator);
        methods.read(name::AGENTS_HISTORY, Self::history);
        methods
            .write(name::AGENTS_SUBSCRIBE, Self::subscribe)
            .role(Role::Viewer);
        methods
            .write(name::AGENTS_UNSUBSCRIBE, Self::unsubscribe)
            .role(Role::Viewer);
    }

    fn keep_work_of(&self, tx: &mut Tx<'_>, device: &DeviceId) -> Result<(), RpcError> {
        queue::disown(tx, device).map(|_| ())
    }

    async fn end_work_of(self: Arc<Self>, device: RevokedDevice) -> Result<u64, RpcError> {
        self.end_turns_of(device.key).await
    }

    async fn lock_changed(self: Arc<Self>, is_locked: bool) {
        self.supervisor.lock_changed(is_locked).await;
    }

    async fn shutdown(self: Arc<Self>) {
        self.supervisor.stop().await;
    }

    /// A launcher, of that turn or of any; a process with the mark of a turn, other than the one
    /// that has started this daemon.
    fn has_started(&self, process: &Process<'_>) -> Option<&'static str> {
        #[cfg(unix)]
        if process.runs(launcher::ARGUMENT) {
            return Some("an agent");
        }
        let own = std::env::var_os(environment::TURN_VARIABLE);
        let turn = process.variable(environment::TURN_VARIABLE)?;
        let is_own = own.is_some_and(|own| own.as_encoded_bytes() == turn);
        (!is_own).then_some("an agent")
    }
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents")
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
