//! States of hosts and of their lists of agents, as the machines define them.

use bowline_runtime as runtime;

use super::mirror;

mirror! {
    /// Connectivity of a host. There is no other connection state (INV-5, INV-6).
    HostState of runtime::HostState {
        /// Not started yet.
        Booting,
        /// No path is configured.
        NoConnections,
        /// The paths are being probed.
        SelectingActiveConnection,
        /// A path was chosen and is connecting.
        ConnectingActive,
        /// Connected.
        Online,
        /// The connection was lost and is being restored.
        Degraded,
        /// The next attempt needs an action of the user or another input.
        Error,
        /// The host was forgotten, or the runtime was shut down.
        Stopped,
    }
}

mirror! {
    /// State of a host's list of agents (DS-1).
    DirectoryState of runtime::DirectoryState {
        /// Never attached.
        Idle,
        /// The first load is running: show a skeleton.
        InitialLoading,
        /// The rows equal the daemon's.
        Ready,
        /// The rows stay while they are loaded again.
        Revalidating,
        /// No load has succeeded, and the last one failed.
        ErrorBeforeFirstSuccess,
        /// The rows stay; loading them again failed (UX-4).
        ErrorAfterReady,
    }
}
