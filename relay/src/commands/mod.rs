//! The command line of `bowline-relay` (`docs/commands.md`).

mod run;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use bowline_program::{complain, print};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{self, Deadline, FileLimits, LogFormat, Network, Overrides};

/// What the program is called.
const NAME: &str = "bowline-relay";

/// What the process ends with (`docs/commands.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
}

/// Bowline's relay: reaches daemons that nobody can dial, and can read nothing of what it carries.
#[derive(Debug, Parser)]
#[command(
    name = "bowline-relay",
    version,
    about,
    after_help = "Limits: 0 means none. Exit codes: 0 done, 1 failed, 2 usage or configuration."
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay (what happens without a command)
    Run,
}

#[derive(Debug, Args)]
struct Flags {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE", env = "BOWLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen; repeatable; port 0 picks a free one [default: 0.0.0.0:4718]
    #[arg(
        long,
        global = true,
        value_name = "ADDR:PORT",
        env = "BOWLINE_LISTEN",
        value_delimiter = ','
    )]
    listen: Vec<SocketAddr>,
    /// Certificate chain (PEM); read again on SIGHUP
    #[arg(long, global = true, value_name = "FILE", env = "BOWLINE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM); read again on SIGHUP
    #[arg(long, global = true, value_name = "FILE", env = "BOWLINE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// What daemons must say to register (a private relay); better in the variable or the file
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "BOWLINE_DAEMON_TOKEN",
        hide_env_values = true
    )]
    daemon_token: Option<String>,
    /// Proxy whose X-Forwarded-For is believed; repeatable
    #[arg(
        long,
        global = true,
        value_name = "NETWORK",
        env = "BOWLINE_TRUSTED_PROXY",
        value_delimiter = ','
    )]
    trusted_proxy: Vec<Network>,
    /// Threads that forward [default: 1]
    #[arg(long, global = true, value_name = "N", env = "BOWLINE_THREADS")]
    threads: Option<usize>,
    /// Log filter, for example `info` or `bowline_relay=debug` [default: info]
    #[arg(long, global = true, value_name = "FILTER", env = "BOWLINE_LOG")]
    log: Option<String>,
    /// Form of log lines on standard error [default: text]
    #[arg(long, global = true, value_name = "FORM", env = "BOWLINE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitFlags {
    /// Sockets of everybody [default: 16384]
    #[arg(long, global = true, value_name = "N", env = "BOWLINE_SOCKETS")]
    sockets: Option<u32>,
    /// Sockets of one address [default: 1024]
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "BOWLINE_SOCKETS_PER_ADDRESS"
    )]
    sockets_per_address: Option<u32>,
    /// Client sockets of one daemon [default: 256]
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "BOWLINE_SOCKETS_PER_DAEMON"
    )]
    sockets_per_daemon: Option<u32>,
    /// Client sockets of one session [default: 8]
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "BOWLINE_SOCKETS_PER_SESSION"
    )]
    sockets_per_session: Option<u32>,
    /// Registrations of one address a minute [default: 60]
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "BOWLINE_REGISTRATIONS_PER_MINUTE"
    )]
    registrations_per_minute: Option<u32>,
    /// Client and data sockets that one address opens a minute [default: 600]
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "BOWLINE_OPENS_PER_MINUTE"
    )]
    opens_per_minute: Option<u32>,
    /// For TLS and request, and for a registration [default: 10s]
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "BOWLINE_HANDSHAKE_TIMEOUT"
    )]
    handshake_timeout: Option<Deadline>,
    /// For the daemon's data socket after a session's first client [default: 10s]
    #[arg(long, global = true, value_name = "TIME", env = "BOWLINE_PEER_WAIT")]
    peer_wait: Option<Deadline>,
    /// Silence of a daemon after which it is asked; after twice as much it is gone [default: 4s]
    #[arg(long, global = true, value_name = "TIME", env = "BOWLINE_HEARTBEAT")]
    heartbeat: Option<Deadline>,
    /// How long sessions outlive their daemon's control socket [default: 10s]
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "BOWLINE_CONTROL_GRACE"
    )]
    control_grace: Option<Deadline>,
}

impl Cli {
    fn overrides(self) -> Overrides {
        let (flags, limits) = (self.flags, self.limits);
        Overrides {
            config: flags.config,
            listen: flags.listen,
            tls_cert: flags.tls_cert,
            tls_key: flags.tls_key,
            daemon_token: flags.daemon_token,
            trusted_proxy: flags.trusted_proxy,
            threads: flags.threads,
            log: flags.log,
            log_format: flags.log_format,
            limits: FileLimits {
                sockets: limits.sockets,
                sockets_per_address: limits.sockets_per_address,
                sockets_per_daemon: limits.sockets_per_daemon,
                sockets_per_session: limits.sockets_per_session,
                registrations_per_minute: limits.registrations_per_minute,
                opens_per_minute: limits.opens_per_minute,
                handshake_timeout: limits.handshake_timeout,
                peer_wait: limits.peer_wait,
                heartbeat: limits.heartbeat,
                control_grace: limits.control_grace,
            },
        }
    }
}

/// The whole program: parses the command line, does what it says, says what went wrong.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print::usage(NAME, &error),
    };
    let outcome = config::load(cli.overrides())
        .map_err(|error| (Exit::Usage, error.to_string()))
        .and_then(run::run);
    let exit = match outcome {
        Ok(()) => Exit::Done,
        Err((exit, message)) => {
            complain!("{NAME}: {message}");
            exit
        }
    };
    print::conclude(NAME, exit as u8)
}

/// The command line's definition, for documentation.
pub fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        definition().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_run_or_without_it() {
        for line in [
            "bowline-relay --listen 127.0.0.1:0 --sockets-per-daemon 9",
            "bowline-relay run --listen 127.0.0.1:0 --sockets-per-daemon 9",
            "bowline-relay --listen 127.0.0.1:0 run --sockets-per-daemon 9",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let overrides = cli.overrides();
            assert_eq!(overrides.listen, ["127.0.0.1:0".parse().unwrap()], "{line}");
            assert_eq!(overrides.limits.sockets_per_daemon, Some(9), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |line: &str| {
            Cli::try_parse_from(line.split(' '))
                .unwrap_err()
                .to_string()
        };
        assert!(error("bowline-relay --listen nowhere").contains("nowhere"));
        assert!(error("bowline-relay --peer-wait soon").contains("\"10s\""));
        assert!(error("bowline-relay --trusted-proxy x").contains("10.0.0.0/8"));
        assert!(error("bowline-relay --lisen 127.0.0.1:0").contains("--listen"));
    }
}
