//! The commands, and how each may end.

mod agents;
mod archive;
mod forget;
mod history;
mod hosts;
mod pair;
mod providers;
mod run;
mod send;
mod watch;

use std::cell::RefCell;

use bowline_program::Signals;
use bowline_runtime::{HostRecord, protocol::AgentId};

use crate::{
    args::Command,
    client::Client,
    config::Settings,
    failure::{Exit, Stop},
    output::Output,
    text,
};

/// Work in progress at the daemon, reported to a user who leaves early.
#[derive(Default)]
pub(crate) struct Progress {
    now: RefCell<Option<String>>,
}

impl Progress {
    /// A request is on its way.
    pub(crate) fn sent(&self, host: &HostRecord) {
        let name = text::one_line(&host.name);
        self.now.replace(Some(format!(
            "the request is stored and sent with the next bowline command that reaches {name}; `bowline \
             forget` drops it"
        )));
    }

    /// An agent is working.
    fn working(&self, host: &HostRecord, agent: &AgentId) {
        let name = text::one_line(&host.name);
        self.now.replace(Some(format!(
            "{agent} continues on {name}; `bowline history {agent}` shows its output"
        )));
    }

    /// Nothing is in progress any more.
    fn done(&self) {
        self.now.take();
    }

    fn take(&self) -> Option<String> {
        self.now.borrow_mut().take()
    }
}

/// Runs the command and shows its error, if any.
pub(crate) async fn run(
    settings: &Settings,
    command: Command,
    output: &Output,
    signals: &Signals,
) -> Exit {
    let client = match Client::open(settings, output) {
        Ok(client) => client,
        Err(error) => {
            output.fail(&error).await;
            return error.exit;
        }
    };
    let progress = Progress::default();
    let work = async {
        let ended = dispatch(&client, &progress, command).await;
        let exit = conclude(ended, &progress, output).await;
        client.deliver().await;
        exit
    };
    let exit = tokio::select! {
        exit = work => exit,
        stop = signals.stop() => {
            if let Some(line) = progress.take() {
                output.final_line(line).await;
            }
            Exit::of(stop)
        }
    };
    client.close().await;
    exit
}

async fn conclude(ended: Result<Exit, Stop>, progress: &Progress, output: &Output) -> Exit {
    match ended {
        Ok(exit) => exit,
        // `bowline … | head`: a closed reader is no failure.
        Err(Stop::OutputClosed) => Exit::Done,
        Err(Stop::Error(error)) => {
            output.fail(&error).await;
            let left = matches!(error.exit, Exit::Unreachable | Exit::Refused);
            if let Some(line) = progress.take().filter(|_| left) {
                let _ = output.say(line).await;
            }
            error.exit
        }
    }
}

async fn dispatch(
    client: &Client<'_>,
    progress: &Progress,
    command: Command,
) -> Result<Exit, Stop> {
    match command {
        Command::Pair { offer, yes } => pair::pair(client, offer, yes).await,
        Command::Hosts => hosts::hosts(client).await,
        Command::Agents { host, all } => agents::agents(client, host.host.as_deref(), all).await,
        Command::Providers(on) => providers::providers(client, on.host.as_deref()).await,
        Command::Run {
            host,
            provider,
            cwd,
            prompt,
        } => {
            let wanted = run::Wanted {
                host: host.host,
                provider,
                cwd,
                prompt,
            };
            run::run(client, progress, wanted).await
        }
        Command::Send { host, agent, text } => {
            send::send(client, progress, host.host.as_deref(), &agent, text).await
        }
        Command::History { host, agent, limit } => {
            history::history(client, host.host.as_deref(), &agent, limit).await
        }
        Command::Archive { host, agent } => {
            archive::archive(client, progress, host.host.as_deref(), &agent).await
        }
        Command::Watch => watch::watch(client).await,
        Command::Forget { host } => forget::forget(client, &host).await,
    }
}
