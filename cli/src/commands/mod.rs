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
    failure::{Exit, Stop},
    output::Output,
    settings::Settings,
    text,
};

/// What is under way at the daemon, for whoever leaves before it is done.
#[derive(Default)]
pub(crate) struct Story {
    now: RefCell<Option<String>>,
}

impl Story {
    /// A request is on its way.
    fn sent(&self, host: &HostRecord) {
        let name = text::one_line(&host.name);
        self.now.replace(Some(format!(
            "the request is kept and goes out with the next bowline command that reaches {name}; `bowline \
             forget` drops it"
        )));
    }

    /// An agent works.
    fn working(&self, host: &HostRecord, agent: &AgentId) {
        let name = text::one_line(&host.name);
        self.now.replace(Some(format!(
            "{agent} goes on at work on {name}; `bowline history {agent}` shows it"
        )));
    }

    /// Nothing is under way any more.
    fn done(&self) {
        self.now.take();
    }

    fn take(&self) -> Option<String> {
        self.now.borrow_mut().take()
    }
}

/// Does what the command line says and shows what went wrong.
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
    let story = Story::default();
    let work = async {
        let ended = dispatch(&client, &story, command).await;
        let exit = conclude(ended, &story, output).await;
        client.deliver().await;
        exit
    };
    let exit = tokio::select! {
        exit = work => exit,
        stop = signals.stop() => {
            if let Some(line) = story.take() {
                output.last_words(line).await;
            }
            Exit::of(stop)
        }
    };
    client.close().await;
    exit
}

async fn conclude(ended: Result<Exit, Stop>, story: &Story, output: &Output) -> Exit {
    match ended {
        Ok(exit) => exit,
        // `bowline … | head`: that is no failure.
        Err(Stop::NobodyReads) => Exit::Done,
        Err(Stop::Error(error)) => {
            output.fail(&error).await;
            let left = matches!(error.exit, Exit::Unreachable | Exit::Refused);
            if let Some(line) = story.take().filter(|_| left) {
                let _ = output.say(line).await;
            }
            error.exit
        }
    }
}

async fn dispatch(client: &Client<'_>, story: &Story, command: Command) -> Result<Exit, Stop> {
    match command {
        Command::Pair { offer } => pair::pair(client, offer).await,
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
            run::run(client, story, wanted).await
        }
        Command::Send { host, agent, text } => {
            send::send(client, story, host.host.as_deref(), &agent, text).await
        }
        Command::History { host, agent, limit } => {
            history::history(client, host.host.as_deref(), &agent, limit).await
        }
        Command::Archive { host, agent } => {
            archive::archive(client, story, host.host.as_deref(), &agent).await
        }
        Command::Watch => watch::watch(client).await,
        Command::Forget { host } => forget::forget(client, &host).await,
    }
}
