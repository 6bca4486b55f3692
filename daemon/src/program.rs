//! A daemon as a program: `bowline-daemon`, and those that app authors build with services of their own
//! (`docs/services.md`).

use std::{error::Error, future::Future, process::ExitCode};

use crate::{
    commands,
    config::Home,
    service::{Service, Services, Setup},
};

/// What a daemon's program is called, and which services are linked into it. It has all commands and flags of
/// `bowline-daemon` (docs/commands.md).
#[derive(Debug)]
pub struct Program {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) about: &'static str,
    pub(crate) home: Home,
    pub(crate) services: Services,
}

impl Program {
    /// `bowline-daemon` itself.
    pub(crate) fn bowline() -> Self {
        Self {
            name: "bowline-daemon",
            version: crate::VERSION,
            about: "Bowline's daemon: keeps the sessions of your apps with this machine",
            home: Home::BOWLINE,
            services: Services::none(),
        }
    }

    /// A program of that name, which is also the name of its folders: it has a state, an identity and a configuration
    /// of its own, beside any other daemon of the machine. `version` is what `--version` says.
    pub fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            about: "A daemon that keeps the sessions of an app with this machine",
            home: Home::of(name),
            services: Services::none(),
        }
    }

    /// What `--help` begins with.
    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Links a service in.
    #[must_use]
    pub fn service(mut self, service: impl Service) -> Self {
        self.services = self.services.with(service);
        self
    }

    /// Links a service in that is made when the daemon starts; see [`Services::starting`].
    #[must_use]
    pub fn starting<S, E, F>(mut self, make: impl FnOnce(Setup) -> F + Send + 'static) -> Self
    where
        S: Service,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<S, E>> + Send + 'static,
    {
        self.services = self.services.starting(make);
        self
    }
}

/// The whole of a daemon's `main`: parses the command line, does what it says, says what went wrong.
pub fn run(program: Program) -> ExitCode {
    commands::main(program, std::env::args_os().collect())
}
