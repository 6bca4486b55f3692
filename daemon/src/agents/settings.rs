//! The configuration of a provider: one `[[provider]]` section of the daemon's file.

use serde::{Deserialize, Serialize};

/// The protocol of a provider's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// One process per prompt; its output is the answer.
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

/// How the prompt is passed to a `command` provider's program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptVia {
    /// As the last argument.
    #[default]
    Argument,
    /// On standard input, which then ends.
    Stdin,
}

/// One `[[provider]]`. Remote clients choose it by name and can neither see nor set its command
/// line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// Its name for clients.
    pub name: String,
    /// Its kind.
    pub kind: ProviderKind,
    /// Program and arguments.
    pub command: Vec<String>,
    /// How the prompt is passed; only for `command`.
    #[serde(default)]
    pub prompt: PromptVia,
    /// Folders that its agents may be started in, with what is below them; every folder when
    /// absent. Absolute, or `~/…` for the home folder of the daemon's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Vec<String>>,
    /// Title for people; the name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl ProviderSettings {
    /// The built-in provider: the user's shell, which runs the prompt as a command line.
    pub fn shell() -> Self {
        let command = if cfg!(windows) {
            // In UTF-8, the encoding of timelines.
            ["cmd.exe", "/D", "/S", "/C", "chcp 65001>nul & {prompt}"]
                .map(str::to_owned)
                .to_vec()
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
            roots: None,
            title: Some("Shell".to_owned()),
        }
    }
}

/// The arguments with which a shell takes a command line, even one that begins with `-`.
fn shell_command(shell: String) -> Vec<String> {
    let name = shell.rsplit('/').next().unwrap_or_default();
    let arguments: &[&str] = match name {
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "mksh" => &["-c", "--"],
        "fish" => &["--command={prompt}"],
        // Other shells may take `--` for the command: prompts that begin with `-` are refused for
        // them.
        _ => &["-c"],
    };
    let arguments = arguments.iter().map(|&argument| argument.to_owned());
    std::iter::once(shell.clone()).chain(arguments).collect()
}
