import BowlineFFI

/// The agents of all hosts in one list, as of one revision (DS-2).
public struct Directory: Sendable, Equatable {
    /// Grows with each change.
    public internal(set) var rev: UInt32 = 0
    /// In display order.
    public internal(set) var rows = ChunkedList<DirectoryRow>()
    /// Whether to show a skeleton: the list is empty and a first load is running.
    public internal(set) var loading = true
    /// State of each host's part of the list.
    public internal(set) var hosts: [HostDirectory] = []
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public internal(set) var isReady = false

    /// The value before the first update.
    public init() {}
}

/// One agent's timeline, as of one revision.
public struct Timeline: Sendable, Equatable {
    /// Grows with each change.
    public internal(set) var rev: UInt32 = 0
    /// Oldest first.
    public internal(set) var items = ChunkedList<TimelineItem>()
    /// Messages being sent, shown after the items (UX-3).
    public internal(set) var pending: [PendingMessage] = []
    /// Messages whose delivery failed; shown until dismissed.
    public internal(set) var failed: [FailedMessage] = []
    /// Whether a load ever succeeded (UX-1).
    public internal(set) var loaded = false
    /// Whether it is being refreshed (UX-2).
    public internal(set) var catchingUp = false
    /// Content before the first item.
    public internal(set) var older: Older = .none
    /// Content after the last item: a view that grew too long at its beginning drops rows at its
    /// end.
    public internal(set) var newer: Newer = .none
    /// Grows when the daemon has another timeline under this id; a scroll position is then invalid.
    public internal(set) var replaced: UInt32 = 0
    /// Why it may be stale (UX-4).
    public internal(set) var error: LoadFailure?
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public internal(set) var isReady = false

    /// The value before the first update.
    public init() {}
}

/// The content of an agent's screen. The library decides it (UX-1 to UX-4); a view renders it.
public struct AgentScreen: Sendable, Equatable {
    /// Grows with each change; 0 until the first update, which takes milliseconds and no network.
    public internal(set) var rev: UInt32 = 0
    /// The agent's host.
    public internal(set) var serverId: String
    /// The agent; none until the daemon has confirmed the one being created.
    public internal(set) var agentId: String?
    /// Its row in the directory, once loaded.
    public internal(set) var agent: AgentSummary?
    /// Origin of the agent.
    public internal(set) var creation: Creation = .none
    /// The agent as requested, while it is being created.
    public internal(set) var creating: PendingAgent?
    /// Why its creation failed, with the agent as requested.
    public internal(set) var creationFailed: FailedAgent?
    /// An overlay covers the whole content (UX-1).
    public internal(set) var overlay = false
    /// At most one toast.
    public internal(set) var toast: Toast?
    /// Show the hint "Start chatting".
    public internal(set) var placeholder = false
    /// At most one error.
    public internal(set) var errorIndicator: ErrorIndicator?
    /// Prompts can be typed and sent, also offline.
    public internal(set) var composerEnabled = false
    /// Why no prompt can be sent any more; shown in place of the composer.
    public internal(set) var readOnly: ReadOnly?
    /// State of the host.
    public internal(set) var connectivity: Connectivity = .offline
    /// Why the host is not online, with the recommended action.
    public internal(set) var connectionError: ErrorInfo?
    /// The content.
    public internal(set) var timeline = Timeline()
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public var isReady: Bool { rev != 0 }

    init(serverId: String) {
        self.serverId = serverId
    }
}

extension Directory {
    /// Applies an update to this directory.
    mutating func apply(_ update: DirectoryUpdate) throws {
        if try !follows(update.baseRev, rev) { self = Directory() }
        try rows.apply(update.changes, rows: update.rows) { _, _ in throw OutOfStep() }
        (rev, loading, hosts, isReady) = (update.rev, update.loading, update.hosts, true)
    }
}

extension Timeline {
    /// Applies an update to this timeline.
    mutating func apply(_ update: TimelineUpdate) throws {
        if try !follows(update.baseRev, rev) { self = Timeline() }
        try items.apply(update.changes, rows: update.rows) { $0.grown(by: $1) }
        if let pending = update.pending { self.pending = pending }
        if let failed = update.failed { self.failed = failed }
        (rev, loaded, catchingUp) = (update.rev, update.loaded, update.catchingUp)
        (older, newer) = (update.older, update.newer)
        (replaced, error, isReady) = (update.replaced, update.error, true)
    }
}

extension TimelineItem {
    fileprivate func grown(by more: String) -> TimelineItem {
        TimelineItem(
            id: id, index: index, kind: kind, at: at, text: text + more,
            droppedBytes: droppedBytes, stream: stream, status: status, exitCode: exitCode, intentId: intentId)
    }
}

extension AgentScreen {
    /// Applies an update to this screen.
    mutating func apply(_ update: ScreenUpdate) throws {
        try timeline.apply(update.timeline)
        (rev, serverId, agentId) = (update.rev, update.serverId, update.agentId)
        (agent, creation, creating) = (update.agent, update.creation, update.creating)
        creationFailed = update.creationFailed
        (overlay, toast, placeholder) = (update.overlay, update.toast, update.placeholder)
        (errorIndicator, composerEnabled) = (update.errorIndicator, update.composerEnabled)
        readOnly = update.readOnly
        (connectivity, connectionError) = (update.connectivity, update.connectionError)
    }
}
