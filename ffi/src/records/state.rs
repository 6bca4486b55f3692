//! States of the machines that screens show, which snapshots carry by name.

/// Names of states and what stands for them here.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A state that these bindings do not know: a defect.
            Unknown,
        }

        impl $name {
            pub(crate) fn named(name: &str) -> Self {
                match name { $($text => Self::$variant,)* _ => Self::Unknown }
            }
        }
    };
}

states! {
    /// How a host's connectivity stands. There is no other connection state (INV-5, INV-6).
    HostState {
        /// It has only just been taken up.
        Booting "booting",
        /// It has no path.
        NoConnections "no_connections",
        /// Its paths are being measured.
        SelectingActiveConnection "selecting_active_connection",
        /// A path was chosen and is being connected.
        ConnectingActive "connecting_active",
        /// Connected.
        Online "online",
        /// It was connected, and is being connected again.
        Degraded "degraded",
        /// Nothing is tried until someone does something.
        Error "error",
        /// It was forgotten, or the runtime was shut down.
        Stopped "stopped",
    }
}

states! {
    /// How a host's list of agents stands (DS).
    DirectoryState {
        /// Never attached.
        Idle "idle",
        /// The first load runs: show a skeleton.
        InitialLoading "initial_loading",
        /// The rows are what the daemon has.
        Ready "ready",
        /// The rows stay while they are fetched again.
        Revalidating "revalidating",
        /// There never were rows, and the load failed.
        ErrorBeforeFirstSuccess "error_before_first_success",
        /// The rows stay, although fetching them again failed (UX-4).
        ErrorAfterReady "error_after_ready",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bowline_runtime::{
        machines::{
            Generation, Moment,
            directory::State as Directory,
            host::{ConnectionId, State as Host},
            load::LoadError,
        },
        protocol::Reason,
    };

    use super::*;

    const GENERATION: Generation = Generation::ZERO;
    const LOAD: LoadError = LoadError::TimedOut;

    /// The state after that one in a walk over all, with the mirror of the one that was given. One that is added to the
    /// machine does not compile here.
    fn host(state: Host, now: Moment) -> (HostState, Option<Host>) {
        let connection = ConnectionId(0);
        let generation = GENERATION;
        match state {
            Host::Booting => (HostState::Booting, Some(Host::NoConnections)),
            Host::NoConnections => (
                HostState::NoConnections,
                Some(Host::SelectingActiveConnection {
                    cycle: 1,
                    retry_at: None,
                }),
            ),
            Host::SelectingActiveConnection { .. } => (
                HostState::SelectingActiveConnection,
                Some(Host::ConnectingActive {
                    connection,
                    generation,
                    since: now,
                    deadline: now,
                }),
            ),
            Host::ConnectingActive { .. } => (
                HostState::ConnectingActive,
                Some(Host::Online {
                    connection,
                    generation,
                    since: now,
                    candidate: None,
                }),
            ),
            Host::Online { .. } => (
                HostState::Online,
                Some(Host::Degraded {
                    connection,
                    generation,
                    reason: Reason::IdleTimeout,
                    candidate: None,
                }),
            ),
            Host::Degraded { reason, .. } => (
                HostState::Degraded,
                Some(Host::Error {
                    reason,
                    retry_at: now,
                }),
            ),
            Host::Error { .. } => (HostState::Error, Some(Host::Stopped)),
            Host::Stopped => (HostState::Stopped, None),
        }
    }

    /// As [`host`].
    fn directory(state: Directory, now: Moment) -> (DirectoryState, Option<Directory>) {
        let (load, deadline) = (GENERATION, now);
        let (error, retry_at) = (LOAD, None);
        match state {
            Directory::Idle => (
                DirectoryState::Idle,
                Some(Directory::InitialLoading { load, deadline }),
            ),
            Directory::InitialLoading { .. } => {
                (DirectoryState::InitialLoading, Some(Directory::Ready))
            }
            Directory::Ready => (
                DirectoryState::Ready,
                Some(Directory::Revalidating { load, deadline }),
            ),
            Directory::Revalidating { .. } => (
                DirectoryState::Revalidating,
                Some(Directory::ErrorBeforeFirstSuccess { error, retry_at }),
            ),
            Directory::ErrorBeforeFirstSuccess { .. } => (
                DirectoryState::ErrorBeforeFirstSuccess,
                Some(Directory::ErrorAfterReady { error, retry_at }),
            ),
            Directory::ErrorAfterReady { .. } => (DirectoryState::ErrorAfterReady, None),
        }
    }

    #[test]
    fn inv_6_every_state_of_the_host_machine_has_its_own_mirror() {
        let mut names = BTreeSet::new();
        let mut next = Some(Host::Booting);
        while let Some(state) = next {
            let (mirror, after) = host(state, Moment::from_millis(0));
            assert_eq!(HostState::named(state.name()), mirror);
            assert_ne!(mirror, HostState::Unknown);
            names.insert(state.name());
            next = after;
        }
        assert_eq!(
            names.len(),
            HostState::Unknown as usize,
            "no mirror is left over"
        );
    }

    #[test]
    fn every_state_of_the_directory_machine_has_its_own_mirror() {
        let mut names = BTreeSet::new();
        let mut next = Some(Directory::Idle);
        while let Some(state) = next {
            let (mirror, after) = directory(state, Moment::from_millis(0));
            assert_eq!(DirectoryState::named(state.name()), mirror);
            assert_ne!(mirror, DirectoryState::Unknown);
            names.insert(state.name());
            next = after;
        }
        assert_eq!(
            names.len(),
            DirectoryState::Unknown as usize,
            "no mirror is left over"
        );
    }
}
