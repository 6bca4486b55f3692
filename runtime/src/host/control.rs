//! Commands of which only the latest counts, such as platform events: none is lost, however busy
//! the host is.

use bowline_machines::{MonotonicTime, client::paths, data::replica};

use super::driver::Driver;
use crate::{registry::HostRecord, transport::Address};

/// The latest command of each kind, in order of execution.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HostControl {
    /// Paired again, with these addresses, name and key.
    pub(crate) paired: Option<HostRecord>,
    /// The user selected a path, or the best one.
    pub(crate) select: Option<Option<Address>>,
    /// Foreground or background.
    stay: Option<Stay>,
    pub(crate) network_changed: bool,
    /// Reload the directory.
    pub(crate) refresh: bool,
}

/// Foreground or background, by the platform's latest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Background,
    Foreground {
        /// It was in the background since the last take. The return counts even if immediate: a
        /// system that suspends the app delivers both events when it resumes.
        came_back: bool,
    },
}

impl HostControl {
    /// The app entered the background.
    pub(crate) const fn background(&mut self) {
        self.stay = Some(Stay::Background);
    }

    /// The app is in the foreground.
    pub(crate) const fn foreground(&mut self) {
        let came_back = match self.stay {
            Some(Stay::Background) => true,
            Some(Stay::Foreground { came_back }) => came_back,
            None => false,
        };
        self.stay = Some(Stay::Foreground { came_back });
    }
}

impl Driver {
    pub(super) fn on_control(&mut self, now: MonotonicTime, control: HostControl) {
        let HostControl {
            paired,
            select,
            stay,
            network_changed,
            refresh,
        } = control;
        if let Some(record) = paired {
            self.record = record;
            let connections = self.connections();
            self.machine
                .handle(now, paths::Input::ConnectionsChanged(connections));
            // Any earlier refusal of this device is obsolete.
            self.machine.handle(now, paths::Input::ReconnectNow);
        }
        if let Some(address) = select {
            self.select_path(now, address.as_ref());
        }
        match stay {
            Some(Stay::Background) => self.machine.handle(now, paths::Input::Background),
            Some(Stay::Foreground { came_back }) => {
                if came_back {
                    self.machine.handle(now, paths::Input::Background);
                }
                self.machine.handle(now, paths::Input::Foreground);
            }
            None => {}
        }
        if network_changed {
            self.machine.handle(now, paths::Input::NetworkChanged);
        }
        if refresh {
            self.replica.handle(now, replica::Input::Refresh);
        }
    }

    fn select_path(&mut self, now: MonotonicTime, address: Option<&Address>) {
        let choice = address.map(|address| self.label(address));
        if let Some(None) = choice {
            // The host has lost the path since, or the settings disallow it.
            return;
        }
        self.machine
            .handle(now, paths::Input::UserSelect(choice.flatten()));
    }
}
