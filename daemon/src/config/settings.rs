//! The settings in force, after every source has had its say.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bowline_protocol::limits;
use serde::{Deserialize, Serialize};

use super::{AdvertisedAddress, LogFormat, RelayUrl};
use crate::agents::Launcher;

/// Everything the daemon is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The daemon's name, for people; in welcomes, listings and offers.
    pub name: String,
    /// Addresses of the session listeners. Port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// The local control socket: a file, or on Windows a pipe name.
    pub socket: PathBuf,
    /// Where `GET /metrics` is answered; nowhere unless configured. Port 0 picks a free one.
    pub metrics: Option<SocketAddr>,
    /// Relays to register with.
    pub relay: Vec<RelayUrl>,
    /// Certificates (PEM) of authorities that relays may be certified by, besides the public ones.
    pub relay_root: Vec<PathBuf>,
    /// What offers list instead of the bound addresses.
    pub advertise: Vec<AdvertisedAddress>,
    /// Where the identity and the database live.
    pub state_dir: PathBuf,
    /// Filter of the log, in the syntax of `tracing`'s `EnvFilter`.
    pub log: String,
    /// Its form.
    pub log_format: LogFormat,
    /// The bounds in force.
    pub limits: Limits,
    /// What agents can be made of, in the order of the configuration.
    pub providers: Vec<ProviderSettings>,
    /// How agents' programs are started. No configuration sets it: the program does that knows itself
    /// ([`Launcher::this_program`]), as `run` does.
    pub launcher: Launcher,
}

/// Every bound a user may set (architecture rule 5). What happens at each is said beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest JSON-RPC text in bytes: a longer request closes with `message_too_large`, a longer result
    /// is answered with `response_too_large`.
    pub max_message_bytes: u32,
    /// Most requests pending on one connection; one more is answered with `overloaded`.
    pub max_in_flight: u32,
    /// Most sockets at once, handshaking ones included; one more is turned away with HTTP 503.
    pub max_connections: u32,
    /// Most connections of the local socket at once; one more is told `overloaded` and closed with
    /// `session_capacity`.
    pub max_local_connections: u32,
    /// A local connection on which nothing happens so long is closed with `idle_timeout`.
    pub idle_timeout: Option<Duration>,
    /// A request that runs longer is answered with `timeout`.
    pub request_timeout: Option<Duration>,
    /// A session detached longer expires.
    pub session_grace: Option<Duration>,
    /// Older events leave a session's replay log.
    pub replay_bytes: usize,
    /// Older events leave a session's replay log.
    pub replay_events: usize,
    /// From an accepted socket to `session.ready`; past it `handshake_timeout`.
    pub handshake_timeout: Duration,
    /// A connection whose socket takes no bytes for so long is closed with `slow_consumer` (lesson 19).
    pub write_timeout: Duration,
    /// A session connection from which nothing was received so long is closed with `heartbeat_timeout`.
    pub heartbeat_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: limits::MAX_MESSAGE_BYTES,
            max_in_flight: limits::MAX_IN_FLIGHT,
            max_connections: 4_096,
            max_local_connections: 1_024,
            idle_timeout: Some(Duration::from_secs(300)),
            request_timeout: Some(Duration::from_secs(60)),
            session_grace: Some(limits::SESSION_GRACE),
            replay_bytes: limits::REPLAY_BYTES,
            replay_events: limits::REPLAY_EVENTS,
            handshake_timeout: limits::HANDSHAKE_DEADLINE,
            write_timeout: Duration::from_secs(20),
            heartbeat_timeout: Some(Duration::from_secs(60)),
        }
    }
}

/// How a provider's program is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// One process a prompt; its output is the answer.
    Command,
    /// Agent Client Protocol over standard input and output.
    Acp,
}

impl ProviderKind {
    /// The name in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Acp => "acp",
        }
    }
}

/// How a `command` provider's program gets the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptVia {
    /// As one more argument, the last.
    #[default]
    Argument,
    /// On standard input, which then ends.
    Stdin,
}

/// One `[[provider]]`. Remote clients choose it by name and never see or set its command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// What clients call it.
    pub name: String,
    /// How it is spoken to.
    pub kind: ProviderKind,
    /// Program and arguments.
    pub command: Vec<String>,
    /// How the program gets the prompt; only for `command`.
    #[serde(default)]
    pub prompt: PromptVia,
    /// For people; the name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl ProviderSettings {
    /// The provider there always is: the user's shell, which runs the prompt as a command line.
    pub fn shell() -> Self {
        let command = if cfg!(windows) {
            vec!["cmd.exe".to_owned(), "/C".to_owned()]
        } else {
            let shell = std::env::var("SHELL")
                .ok()
                .filter(|shell| shell.starts_with('/'));
            shell_command(shell.unwrap_or_else(|| "/bin/sh".to_owned()))
        };
        Self {
            name: "shell".to_owned(),
            kind: ProviderKind::Command,
            command,
            prompt: PromptVia::Argument,
            title: Some("Shell".to_owned()),
        }
    }
}

/// How a shell takes a command line as an argument, even one that begins with `-`.
fn shell_command(shell: String) -> Vec<String> {
    let name = shell.rsplit('/').next().unwrap_or_default();
    let arguments: &[&str] = match name {
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "mksh" => &["-c", "--"],
        "fish" => &["--command={prompt}"],
        // Others may take `--` for the command: they are not given prompts that begin with `-`.
        _ => &["-c"],
    };
    let arguments = arguments.iter().map(|&argument| argument.to_owned());
    std::iter::once(shell.clone()).chain(arguments).collect()
}
