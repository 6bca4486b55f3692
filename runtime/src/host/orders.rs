//! What the app tells a host once and for all, or the platform again and again: only the last of a kind counts, and none is
//! lost however busy the host is.

use bowline_machines::{Moment, directory, host};

use super::driver::Driver;
use crate::{registry::HostRecord, settings::NETWORK_PAUSE, transport::Address};

/// Every kind of order, in the order in which they are carried out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// It was paired again, with these addresses, this name and this key.
    pub(crate) paired: Option<HostRecord>,
    /// The user wants that path, or the best one.
    pub(crate) select: Option<Option<Address>>,
    /// Where the app is.
    stay: Option<Stay>,
    pub(crate) network_changed: bool,
    /// Fetch the directory again.
    pub(crate) refresh: bool,
}

/// Where the app is, by what the platform said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Background,
    Foreground {
        /// It was in the background since the last orders were taken. That it came back counts, however soon: a system that
        /// suspends the app delivers both at once when it runs again.
        came_back: bool,
    },
}

impl Orders {
    /// The app went to the background.
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
    pub(super) fn on_orders(&mut self, now: Moment, orders: Orders) {
        let Orders {
            paired,
            select,
            stay,
            network_changed,
            refresh,
        } = orders;
        if let Some(record) = paired {
            self.record = record;
            let connections = self.connections();
            self.machine
                .handle(now, host::Input::ConnectionsChanged(connections));
            // Whatever the daemon refused this device for is over.
            self.machine.handle(now, host::Input::ReconnectNow);
        }
        if let Some(address) = select {
            self.select_path(now, address.as_ref());
        }
        match stay {
            Some(Stay::Background) => self.machine.handle(now, host::Input::Background),
            Some(Stay::Foreground { came_back }) => {
                if came_back {
                    self.machine.handle(now, host::Input::Background);
                }
                self.machine.handle(now, host::Input::Foreground);
            }
            None => {}
        }
        if network_changed {
            self.network_change.reported = true;
            self.on_network_change(now);
        }
        if refresh {
            self.directory.handle(now, directory::Input::Refresh);
        }
    }

    fn select_path(&mut self, now: Moment, address: Option<&Address>) {
        let choice = address.map(|address| self.label(address));
        if let Some(None) = choice {
            // It has lost it since, or the settings do not allow it.
            return;
        }
        self.machine
            .handle(now, host::Input::UserSelect(choice.flatten()));
    }

    /// The first report counts at once, those that follow it closely count as one: each dials anew, and a system that
    /// reports one change many times would hold up the connection that it made possible.
    pub(super) fn on_network_change(&mut self, now: Moment) {
        let change = &mut self.network_change;
        if change.reported && change.quiet_until <= now {
            *change = NetworkChange {
                reported: false,
                quiet_until: now + NETWORK_PAUSE,
            };
            self.machine.handle(now, host::Input::NetworkChanged);
        }
    }
}

/// Reports that the network changed.
#[derive(Debug, Default)]
pub(super) struct NetworkChange {
    /// One was made that the machine has not been told of.
    reported: bool,
    /// It is told of none before then.
    quiet_until: Moment,
}

impl NetworkChange {
    /// When the machine is to be told.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.reported.then_some(self.quiet_until)
    }
}
