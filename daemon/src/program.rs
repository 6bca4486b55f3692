//! A daemon as a program: `bowline-daemon`, and app authors' daemons with their own services
//! (`docs/services.md`).

use std::{error::Error, future::Future};

use crate::{
    config::Home,
    service::{About, Service},
    setup::{Services, Setup},
};

/// The name of a daemon's program and its linked services. It has all commands and flags of
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
    /// `bowline-daemon` itself, with the folders it shares with `bowline`.
    pub fn bowline() -> Self {
        Self {
            about: "Bowline's daemon: keeps the sessions of your apps with this machine",
            home: Home::BOWLINE,
            ..Self::new("bowline-daemon", crate::VERSION)
        }
    }

    /// A program with that name, which also names its folders: its state, identity and
    /// configuration are separate from other daemons of the machine. `version` is the output of
    /// `--version`.
    pub fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            about: "A daemon that keeps the sessions of an app with this machine",
            home: Home::of(name),
            services: Services::none(),
        }
    }

    /// The first line of `--help`.
    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Its services, which say in what they describe whose they are.
    pub(crate) fn into_services(self) -> Services {
        self.services.about(About {
            name: self.name,
            version: self.version,
            about: self.about,
        })
    }

    /// Links a service.
    #[must_use]
    pub fn service(mut self, service: impl Service) -> Self {
        self.services = self.services.with(service);
        self
    }

    /// Links a service that is created when the daemon starts; see [`Services::starting`].
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
