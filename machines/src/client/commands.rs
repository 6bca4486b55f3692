//! What a host and its clients were told and have not handled yet. Only the latest of each kind
//! counts, so none is lost, however many come before a driver's next turn.

use super::{connection, paths};

/// The platform's events for a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlatformEvents {
    stay: Option<Stay>,
    /// The network changed.
    pub network_changed: bool,
}

/// Foreground or background, by the platform's latest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Background,
    Foreground {
        /// It was in the background since the last turn. The return counts even if immediate: a
        /// system that suspends the app delivers both events when it resumes.
        came_back: bool,
    },
}

impl PlatformEvents {
    /// The app entered the background.
    pub const fn background(&mut self) {
        self.stay = Some(Stay::Background);
    }

    /// The app is in the foreground.
    pub const fn foreground(&mut self) {
        let came_back = match self.stay {
            Some(Stay::Background) => true,
            Some(Stay::Foreground { came_back }) => came_back,
            None => false,
        };
        self.stay = Some(Stay::Foreground { came_back });
    }

    /// The inputs of the host's machine, in order.
    pub fn inputs(self) -> impl Iterator<Item = paths::Input> {
        let (background, foreground) = match self.stay {
            Some(Stay::Background) => (true, false),
            Some(Stay::Foreground { came_back }) => (came_back, true),
            None => (false, false),
        };
        let inputs = [
            background.then_some(paths::Input::Background),
            foreground.then_some(paths::Input::Foreground),
            self.network_changed.then_some(paths::Input::NetworkChanged),
        ];
        inputs.into_iter().flatten()
    }
}

/// The commands of a host to one of its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCommands {
    /// Whether the app is in the background.
    pub background: Option<bool>,
    /// It became the active client.
    pub promoted: bool,
    /// Connect.
    pub connect: bool,
    /// Check the connection.
    pub check_liveness: bool,
    /// The network changed.
    pub network_changed: bool,
    /// Whether another path works.
    pub alternative_known: Option<bool>,
}

impl ClientCommands {
    /// The inputs of the client's machine, in order.
    pub fn inputs(self) -> impl Iterator<Item = connection::Input> {
        use connection::Input;
        let stay = |is_background| match is_background {
            true => Input::Background,
            false => Input::Foreground,
        };
        let inputs = [
            // Before any input that may start a dial, so that the dial uses the new network.
            self.network_changed.then_some(Input::NetworkChanged),
            self.background.map(stay),
            self.promoted.then_some(Input::Promoted),
            self.connect.then_some(Input::ConnectRequest),
            self.check_liveness.then_some(Input::CheckLiveness),
            self.alternative_known.map(Input::AlternativeKnown),
        ];
        inputs.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(told: impl FnOnce(&mut PlatformEvents)) -> Vec<paths::Input> {
        let mut events = PlatformEvents::default();
        told(&mut events);
        events.inputs().collect()
    }

    #[test]
    fn ls_3_a_return_from_the_background_counts_even_if_it_is_immediate() {
        use paths::Input::{Background, Foreground, NetworkChanged};
        assert_eq!(inputs(|_| {}), []);
        assert_eq!(inputs(PlatformEvents::foreground), [Foreground]);
        assert_eq!(inputs(PlatformEvents::background), [Background]);
        let back = inputs(|events| {
            events.network_changed = true;
            events.background();
            events.foreground();
            events.foreground();
        });
        assert_eq!(back, [Background, Foreground, NetworkChanged]);
        let gone = inputs(|events| {
            events.foreground();
            events.background();
        });
        assert_eq!(gone, [Background], "the latest counts");
    }

    #[test]
    fn ls_3_a_client_hears_of_a_new_network_before_it_dials() {
        use connection::Input;
        let all = ClientCommands {
            background: Some(false),
            promoted: true,
            connect: true,
            check_liveness: true,
            network_changed: true,
            alternative_known: Some(true),
        };
        let expected = [
            Input::NetworkChanged,
            Input::Foreground,
            Input::Promoted,
            Input::ConnectRequest,
            Input::CheckLiveness,
            Input::AlternativeKnown(true),
        ];
        assert_eq!(all.inputs().collect::<Vec<_>>(), expected);
        assert_eq!(ClientCommands::default().inputs().count(), 0);
    }
}
