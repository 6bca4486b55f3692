//! The real program as a process.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

/// A command that daemons are started under, such as `valgrind --error-exitcode=9`; for
/// `cargo xtask memory`.
const WRAPPER: &str = "BOWLINE_TEST_WRAPPER";
/// Set where daemons were built with a sanitizer.
#[cfg(target_os = "linux")]
const INSTRUMENTED: &str = "BOWLINE_TEST_INSTRUMENTED";

/// The program with arguments, in an environment that says nothing to it.
pub(crate) fn program(state: &Path, args: &[&str]) -> Command {
    environment(
        Command::new(env!("CARGO_BIN_EXE_bowline-daemon")),
        state,
        args,
    )
}

fn environment(mut command: Command, state: &Path, args: &[&str]) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BOWLINE_")) {
        command.env_remove(name);
    }
    // No configuration of the machine the tests run on.
    command.env("XDG_CONFIG_HOME", state).env("APPDATA", state);
    command.arg("--state-dir").arg(state).args(args);
    command
}

/// What the program prints, and how it ends.
pub(crate) fn output(state: &Path, args: &[&str]) -> Output {
    program(state, args).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether daemons run with something that changes what they weigh: their memory is not that of the
/// program alone.
#[cfg(target_os = "linux")]
pub(crate) fn is_instrumented() -> bool {
    [WRAPPER, INSTRUMENTED]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
}

/// A daemon process; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) lines: Vec<Value>,
}

impl Running {
    pub(crate) fn start(state: &Path) -> Self {
        Self::start_with(state, &[], 2)
    }

    /// With more flags; so many lines tell where it listens.
    pub(crate) fn start_with(state: &Path, flags: &[&str], lines: usize) -> Self {
        let args = [&["run", "--listen", "127.0.0.1:0"], flags].concat();
        Self::spawn(program(state, &args), lines)
    }

    /// A daemon under the wrapper of the environment, if there is one. What the wrapper says is
    /// shown.
    #[cfg(unix)]
    pub(crate) fn start_wrapped(state: &Path) -> Self {
        let Ok(wrapper) = std::env::var(WRAPPER) else {
            return Self::start(state);
        };
        let mut words = wrapper.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .arg(env!("CARGO_BIN_EXE_bowline-daemon"));
        let args = ["run", "--listen", "127.0.0.1:0", "--log", "error"];
        let mut command = environment(command, state, &args);
        command.stderr(Stdio::inherit());
        Self::spawn(command, 2)
    }

    fn spawn(mut command: Command, lines: usize) -> Self {
        if std::env::var_os(WRAPPER).is_none() {
            command.stderr(Stdio::null());
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = stdout.lines().take(lines);
        let lines = lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        Self { child, lines }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.lines[0]["address"].as_str().unwrap().parse().unwrap()
    }

    #[cfg(unix)]
    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.lines[1]["address"].as_str().unwrap().into()
    }

    /// Asks it to end as a system does; waits until it has.
    #[cfg(unix)]
    pub(crate) fn terminate(mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
