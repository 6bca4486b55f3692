//! Three machines as network namespaces, with a link between each two.
//!
//! ```text
//!   client ── direct ──── daemon
//!      └──── near ── relay ── far ┘
//! ```
//!
//! Names include this process's id; [`Machines`] removes the namespaces and links on drop, also
//! when a test fails. Without namespaces, [`Machines::new`] reports why.

use std::{process::Command, thread};

/// One machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    Client,
    Daemon,
    Relay,
}

/// A link between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Client and daemon.
    Direct,
    /// Client and relay.
    Near,
    /// Daemon and relay.
    Far,
}

impl Link {
    const ALL: [Self; 3] = [Self::Direct, Self::Near, Self::Far];

    const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    const fn ends(self) -> [Machine; 2] {
        match self {
            Self::Direct => [Machine::Client, Machine::Daemon],
            Self::Near => [Machine::Client, Machine::Relay],
            Self::Far => [Machine::Daemon, Machine::Relay],
        }
    }

    /// The address of one end of the link, from the block for device benchmarks (RFC 2544).
    pub(crate) fn address(self, machine: Machine) -> String {
        let net = match self {
            Self::Direct => 1,
            Self::Near => 2,
            Self::Far => 3,
        };
        let host = if self.ends()[0] == machine { 1 } else { 2 };
        format!("198.18.{net}.{host}")
    }
}

/// A requirement of the test that this system or user lacks.
#[derive(Debug)]
pub(crate) struct Unsupported(String);

impl Unsupported {
    /// Reports it past the test harness, which hides output of passing tests. In CI on Linux, where
    /// it must work, it fails the test.
    pub(crate) fn tell(&self, test: &str) {
        let must = std::env::var_os("CI").is_some() && cfg!(target_os = "linux");
        assert!(!must, "{test} must run in CI: {}", self.0);
        let line = format!("\nunsupported: {test}: {}\n", self.0);
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
const fn is_root() -> bool {
    false
}

/// The namespaces of one test.
#[derive(Debug)]
pub(crate) struct Machines {
    made: Vec<String>,
}

impl Machines {
    /// Creates the namespaces and their links.
    pub(crate) fn new() -> Result<Self, Unsupported> {
        if !cfg!(target_os = "linux") {
            return Err(Unsupported("network namespaces are Linux's".to_owned()));
        }
        if !is_root() {
            return Err(Unsupported("network namespaces are root's".to_owned()));
        }
        let mut machines = Self { made: Vec::new() };
        for machine in [Machine::Client, Machine::Daemon, Machine::Relay] {
            let name = name(machine);
            ip(&["netns", "add", &name])?;
            machines.made.push(name.clone());
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        for link in Link::ALL {
            let [one, other] = link.ends().map(name);
            let device = link.name();
            ip(&[
                "link", "add", device, "netns", &one, "type", "veth", "peer", "name", device,
                "netns", &other,
            ])?;
            for machine in link.ends() {
                let name = name(machine);
                let address = format!("{}/24", link.address(machine));
                ip(&["-n", &name, "addr", "add", &address, "dev", device])?;
            }
            machines.set(link, true);
        }
        // Verifies early that a namespace can be entered.
        machines.inside(Machine::Client, || Ok(()))?;
        Ok(machines)
    }

    /// Sets both ends of a link up or down.
    pub(crate) fn set(&self, link: Link, up: bool) {
        for machine in link.ends() {
            self.set_end(link, machine, up);
        }
    }

    /// Sets one end of a link up or down. The other end loses its carrier and keeps its routes:
    /// packets are lost silently.
    pub(crate) fn set_end(&self, link: Link, machine: Machine, up: bool) {
        let state = if up { "up" } else { "down" };
        ip(&["-n", &name(machine), "link", "set", link.name(), state]).unwrap();
    }

    /// Delays and loses a machine's packets on a link by `tc netem`. `false`: the kernel does not
    /// support it.
    pub(crate) fn worsen(&self, link: Link, machine: Machine, delay: &str, loss: &str) -> bool {
        let (name, device) = (name(machine), link.name());
        let args = [
            "netns", "exec", &name, "tc", "qdisc", "add", "dev", device, "root", "netem", "delay",
            delay, "loss", loss,
        ];
        ip(&args).is_ok()
    }

    /// Runs a function in a thread on a machine; processes it starts are there too.
    pub(crate) fn inside<T: Send>(
        &self,
        machine: Machine,
        work: impl FnOnce() -> Result<T, Unsupported> + Send,
    ) -> Result<T, Unsupported> {
        let inside = || {
            enter(machine)?;
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic);
        })
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.made {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn name(machine: Machine) -> String {
    let machine = match machine {
        Machine::Client => "client",
        Machine::Daemon => "daemon",
        Machine::Relay => "relay",
    };
    format!("bowline-{}-{machine}", std::process::id())
}

/// Moves the calling thread, and its later children, to a machine.
#[cfg(target_os = "linux")]
pub(crate) fn enter(machine: Machine) -> Result<(), Unsupported> {
    use std::os::fd::AsFd;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let path = format!("/var/run/netns/{}", name(machine));
    let entered = std::fs::File::open(&path).and_then(|file| {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    });
    entered.map_err(|error| Unsupported(format!("entering {path}: {error}")))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn enter(_machine: Machine) -> Result<(), Unsupported> {
    Err(Unsupported("network namespaces are Linux's".to_owned()))
}

/// Runs `ip` of iproute2.
fn ip(args: &[&str]) -> Result<(), Unsupported> {
    match Command::new("ip").args(args).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Unsupported(format!(
                "ip {}: {}",
                args.join(" "),
                said.trim()
            )))
        }
        Err(error) => Err(Unsupported(format!("ip: {error}; install iproute2"))),
    }
}
