//! The environment of agents' programs: the user's, without the daemon's own variables (C18, TR-6).

use std::{env, ffi::OsStr};

use tokio::process::Command;

/// Environment variable with the turn's unique name.
pub(super) const TURN_VARIABLE: &str = "BOWLINE_TURN";
/// Environment variable with the agent's id.
const AGENT_VARIABLE: &str = "BOWLINE_AGENT";

/// Settings of Bowline's programs: of the daemon, and of a client, which an agent may use with
/// other settings.
const OURS: &str = "BOWLINE_";

/// Variables that a service manager sets for its own child only.
const OF_THE_SERVICE: [&str; 28] = [
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LOGS_DIRECTORY",
    "LOG_NAMESPACE",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "OLDPWD",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "UPSTART_SESSION",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "XPC_SERVICE_NAME",
];

/// Whether a variable belongs to the daemon rather than the user.
fn is_of_the_daemon(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    name.starts_with(OURS) || OF_THE_SERVICE.contains(&name.as_str())
}

/// Sets a command's environment to that of an agent's program.
pub(super) fn apply(command: &mut Command, turn: &str, agent: &str) {
    for (name, _) in env::vars_os() {
        if is_of_the_daemon(&name) {
            command.env_remove(name);
        }
    }
    command.env(TURN_VARIABLE, turn).env(AGENT_VARIABLE, agent);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tr_6_case_c18_the_daemons_own_variables_are_distinguished_from_the_users() {
        for name in [
            "BOWLINE_RELAY",
            "BOWLINE_STATE_DIR",
            "BOWLINE_TURN",
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "CREDENTIALS_DIRECTORY",
        ] {
            assert!(is_of_the_daemon(OsStr::new(name)), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "LANG",
            "XDG_RUNTIME_DIR",
            "SSH_AUTH_SOCK",
            "BOWLINEX",
        ] {
            assert!(!is_of_the_daemon(OsStr::new(name)), "{name}");
        }
    }
}
