//! A daemon as a program: `bowline-daemon`, and app authors' daemons with their own services
//! (`docs/services.md`).

use std::{error::Error, future::Future, process::ExitCode};

use crate::{
    config::{Home, Section, SectionType, Sections},
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
    pub(crate) sections: Sections,
    hidden: Vec<(&'static str, HiddenMain)>,
}

/// The `main` of a hidden command, called with the program's name.
pub(crate) type HiddenMain = fn(&'static str) -> ExitCode;

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
            sections: Sections::default(),
            hidden: Vec::new(),
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

    /// Gives a service a section of the settings file, which it reads with
    /// [`Settings::section`](crate::config::Settings::section). A section that is not given is an
    /// unknown key. A key that is the daemon's own or given twice is an error of every command that
    /// reads the settings.
    #[must_use]
    pub fn section<T: SectionType>(mut self, section: Section<T>) -> Self {
        self.sections = self.sections.with(section);
        self
    }

    /// Adds a command for the program itself, to execute itself with, and not for people: if it is
    /// the first argument, `main` is called with the program's name before the command line
    /// is parsed. A name that another command has, begins with `-`
    /// or contains a space is an error of every command.
    #[must_use]
    pub fn hidden(mut self, name: &'static str, main: fn(&'static str) -> ExitCode) -> Self {
        self.hidden.push((name, main));
        self
    }

    /// The `main` of a hidden command.
    pub(crate) fn hidden_main(&self, name: &str) -> Option<HiddenMain> {
        let found = self.hidden.iter().find(|(hidden, _)| *hidden == name);
        found.map(|(_, main)| *main)
    }

    /// The names of hidden commands.
    pub(crate) fn hidden_names(&self) -> impl Iterator<Item = &'static str> {
        self.hidden.iter().map(|(name, _)| *name)
    }
}
