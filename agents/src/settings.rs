//! The configuration of providers: the `[[provider]]` sections of the daemon's file.

use bowline_daemon::{
    config::{Section, Settings},
    rpc::content_bytes,
};
use serde::{Deserialize, Serialize};

/// The providers, in the order of the configuration.
pub const PROVIDERS: Section<Vec<ProviderSettings>> = Section::new("provider").resolved(resolve);

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

/// The configured providers; the built-in shell only without any, so that nothing is offered that
/// was not asked for (TR-6). Their list fits into one message: `providers.list` has no pages.
fn resolve(
    configured: Vec<ProviderSettings>,
    settings: &Settings,
) -> Result<Vec<ProviderSettings>, String> {
    let mut all: Vec<ProviderSettings> = Vec::with_capacity(configured.len().max(1));
    for provider in configured {
        let valid = !provider.name.is_empty()
            && provider.name.len() <= 64
            && provider
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !valid {
            return Err(format!(
                "the name `{}` must be 1 to 64 letters, digits, `-`, `_` or `.`",
                provider.name
            ));
        }
        if all.iter().any(|other| other.name == provider.name) {
            return Err(format!("provider `{}` is configured twice", provider.name));
        }
        all.push(provider);
    }
    if all.is_empty() {
        all.push(ProviderSettings::shell());
    }
    // Checked here as well as at the start, so that `config check` reports it.
    super::check(&all).map_err(|error| error.to_string())?;
    let bytes = |provider: &ProviderSettings| {
        // A byte of text takes at most six in JSON, and the fixed parts of one entry less than 64.
        let title = provider.title.as_ref().unwrap_or(&provider.name);
        64 + provider.name.len() + 6 * title.len()
    };
    let listed: usize = all.iter().map(bytes).sum();
    let most = content_bytes(settings.limits.max_message_bytes as usize);
    if listed > most {
        return Err(format!(
            "the list of {} providers may take {listed} bytes, and clients can be sent {most}: configure fewer, give them shorter \
             titles, or raise `limits.max_message_bytes`",
            all.len()
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use bowline_daemon::config::{Home, Sections, Written, load};

    use super::*;

    fn of(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("daemon.toml");
        std::fs::write(&file, text).unwrap();
        let written = Written {
            state_dir: Some(folder.path().to_owned()),
            ..Written::default()
        };
        let sections = Sections::default().with(PROVIDERS);
        load(Home::BOWLINE, Some(file), written, &sections).map_err(|error| error.to_string())
    }

    fn providers(text: &str) -> Vec<ProviderSettings> {
        of(text).unwrap().section(&PROVIDERS).unwrap().to_vec()
    }

    fn error(text: &str) -> String {
        let error = of(text).unwrap_err();
        assert!(error.contains("daemon.toml:"), "{error}");
        error
    }

    #[test]
    fn tr_6_the_shell_is_offered_only_while_no_provider_is_configured() {
        let provider = |name: &str| {
            format!("[[provider]]\nname = \"{name}\"\nkind = \"command\"\ncommand = [\"x\"]\n")
        };
        let names = |text: &str| {
            let providers = providers(text).into_iter();
            providers.map(|provider| provider.name).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["shell"]);
        assert_eq!(names(&provider("a")), ["a"]);
        let both = provider("a") + &provider("shell");
        assert_eq!(names(&both), ["a", "shell"], "one that is asked for");
        assert_eq!(providers(&both)[1].command, ["x"]);
    }

    #[test]
    fn wrong_providers_are_named_with_file_and_key() {
        let provider = "[[provider]]\nname = \"a\"\nkind = \"command\"\ncommand = [\"x\"]\n";
        let twice = error(&format!("{provider}{provider}"));
        assert!(
            twice.contains("`provider`: provider `a` is configured twice"),
            "{twice}"
        );
        assert!(
            error("[[provider]]\nname = \"a\"\nkind = \"command\"\ncommand = []")
                .contains("give it a program")
        );
        let acp = error("[[provider]]\nname = \"a\"\nkind = \"acp\"\ncommand = [\"x\"]");
        for (roots, says) in [("[]", "empty list"), ("[\"src\"]", "`src`")] {
            let error = error(&format!("{provider}roots = {roots}"));
            assert!(
                error.contains("provider `a`") && error.contains(says),
                "{error}"
            );
        }
        assert!(acp.contains("`acp`") && acp.contains("cannot run"), "{acp}");
        let magic = error("[[provider]]\nname = \"x\"\nkind = \"magic\"\ncommand = [\"x\"]\n");
        assert!(
            magic.contains("daemon.toml:3: ") && magic.contains("magic"),
            "{magic}"
        );
        let misspelt = error(&format!("{provider}comand = []\n"));
        assert!(
            misspelt.contains("daemon.toml:5: ") && misspelt.contains("`comand`"),
            "{misspelt}"
        );
    }

    #[test]
    fn case_c49_more_providers_than_a_message_takes_are_refused_at_the_start() {
        let provider = |n: u32| {
            let title = "t".repeat(100);
            format!(
                "[[provider]]\nname = \"p{n}\"\nkind = \"command\"\ncommand = [\"x\"]\ntitle = \"{title}\"\n"
            )
        };
        let some = |count: u32| {
            let all: String = (0..count).map(provider).collect();
            format!("[limits]\nmax_message_bytes = 65536\n{all}")
        };
        assert_eq!(providers(&some(50)).len(), 50);
        let error = error(&some(500));
        assert!(error.contains("limits.max_message_bytes"), "{error}");
    }

    #[test]
    fn what_is_in_force_reads_back_as_a_file() {
        let settings = of(
            "name = \"x\"\n[[provider]]\nname = \"a\"\nkind = \"command\"\ncommand = [\"x\", \"y\"]\n",
        );
        let settings = settings.unwrap();
        let text = settings.to_toml().unwrap();
        assert_eq!(providers(&text), *settings.section(&PROVIDERS).unwrap());
        assert!(text.contains("[[provider]]\nname = \"a\"\n"), "{text}");
    }
}
