//! Commands of which only the latest counts, such as platform events: none is lost, however busy
//! the host is.

use bowline_machines::{
    MonotonicTime, client::commands::PlatformEvents, client::paths, data::replica,
};

use super::{driver::Driver, kept::Flush};
use crate::{registry::HostRecord, transport::Address};

/// The latest command of each kind, in order of execution.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HostControl {
    /// Paired again, with these addresses, name and key.
    pub(crate) paired: Option<HostRecord>,
    /// The user selected a path, or the best one.
    pub(crate) select: Option<Option<Address>>,
    pub(crate) platform: PlatformEvents,
    /// Reload the directory.
    pub(crate) refresh: bool,
    /// Write the open tables and logs for the next run of the app.
    pub(super) flush: Option<Flush>,
}

impl Driver {
    pub(super) fn on_control(&mut self, now: MonotonicTime, control: HostControl) {
        let HostControl {
            paired,
            select,
            platform,
            refresh,
            flush,
        } = control;
        if let Some(record) = paired {
            if self.record.psk != record.psk {
                self.begin_lists_anew(now, record.psk.as_ref());
            }
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
        for input in platform.inputs() {
            if input == paths::Input::Background {
                // The system may end the app without another word.
                self.replica.hurry();
            }
            if input == paths::Input::Foreground {
                self.replica.retry_saving();
            }
            self.machine.handle(now, input);
        }
        if refresh {
            self.replica.handle(now, replica::Input::Refresh);
        }
        if let Some(flush) = flush {
            self.replica.hurry();
            self.write_lists(now, Some(flush));
        }
    }

    fn select_path(&mut self, now: MonotonicTime, address: Option<&Address>) {
        let choice = address.map(|address| self.label(address));
        if let Some(None) = choice {
            // The settings disallow the path, or it was never the host's.
            return;
        }
        self.machine
            .handle(now, paths::Input::UserSelect(choice.flatten()));
    }
}
