import BowlineFFI

/// The agents of all hosts in one list, as of one revision (DS).
public struct Directory: Sendable, Equatable {
    /// Grows with every change.
    public internal(set) var rev: UInt32 = 0
    /// In the order in which to show them.
    public internal(set) var rows: [DirectoryRow] = []
    /// Show a skeleton: there is nothing yet, and a first load runs somewhere.
    public internal(set) var loading = false
    /// How each host's part of the list stands.
    public internal(set) var hosts: [HostDirectory] = []

    /// What is known before anything is.
    public init() {}
}

/// One agent's timeline, as of one revision.
public struct Timeline: Sendable, Equatable {
    /// Grows with every change.
    public internal(set) var rev: UInt32 = 0
    /// Oldest first.
    public internal(set) var items = ChunkedList<TimelineItem>()
    /// Messages on their way, shown after the items (UX-3).
    public internal(set) var pending: [PendingMessage] = []
    /// Messages that were not taken; shown until dismissed.
    public internal(set) var failed: [FailedMessage] = []
    /// Whether a load ever succeeded (UX-1).
    public internal(set) var loaded = false
    /// Whether it is being brought up to date (UX-2).
    public internal(set) var catchingUp = false
    /// What is before the first item.
    public internal(set) var older: Older = .none
    /// What is after the last item: a view that grew too long at its beginning has lost rows at its end.
    public internal(set) var newer: Newer = .none
    /// Grows when the daemon turns out to have another timeline under this name: a scroll position means nothing then.
    public internal(set) var replaced: UInt32 = 0
    /// Why it is not up to date (UX-4).
    public internal(set) var error: LoadFailure?

    /// What is known before anything is.
    public init() {}
}

/// Everything an agent's screen shows. The library decides it (UX-1 to UX-4); a view renders it.
public struct AgentScreen: Sendable, Equatable {
    /// Grows with every change; 0 until the library has said anything, which takes milliseconds and no network.
    public internal(set) var rev: UInt32 = 0
    /// Whose agent.
    public internal(set) var serverId: String
    /// The agent; none until the daemon has named the one that is being created.
    public internal(set) var agentId: String?
    /// Its row in the directory, once that is known.
    public internal(set) var agent: AgentSummary?
    /// Whether it was created from here.
    public internal(set) var creation: Creation = .none
    /// What was asked for, while it is being created.
    public internal(set) var creating: PendingAgent?
    /// Why it could not be created, with what was asked for.
    public internal(set) var creationFailed: FailedAgent?
    /// The whole content is covered (UX-1).
    public internal(set) var overlay = false
    /// At most one toast.
    public internal(set) var toast: Toast?
    /// "Start chatting".
    public internal(set) var placeholder = false
    /// At most one error.
    public internal(set) var errorIndicator: ErrorIndicator?
    /// Prompts can be typed and sent; offline too.
    public internal(set) var composerEnabled = false
    /// Why no prompt can be sent any more; to be said in the place of the composer.
    public internal(set) var readOnly: ReadOnly?
    /// How the host stands.
    public internal(set) var connectivity: Connectivity = .offline
    /// Why the host is not online, with what to do about it.
    public internal(set) var connectionError: ErrorInfo?
    /// The content.
    public internal(set) var timeline = Timeline()

    init(serverId: String) {
        self.serverId = serverId
    }
}

/// An update does not fit what is here. Thrown out of a callback it makes the library begin anew, with a whole list.
struct OutOfStep: Error {
    let base: UInt32?
    let held: UInt32
}

extension Directory {
    /// Makes the next directory of an update.
    mutating func apply(_ update: DirectoryUpdate) throws {
        if let base = update.baseRev {
            guard base == rev else { throw OutOfStep(base: base, held: rev) }
        } else {
            rows = []
        }
        if !(update.removed.isEmpty && update.upserts.isEmpty && update.order == nil) {
            rows = try rows(with: update)
        }
        (rev, loading, hosts) = (update.rev, update.loading, update.hosts)
    }

    private func rows(with update: DirectoryUpdate) throws -> [DirectoryRow] {
        let removed = Set(update.removed)
        var next = rows.filter { !removed.contains($0.key) }
        var places = Dictionary(
            next.enumerated().map { ($1.key, $0) }, uniquingKeysWith: { first, _ in first })
        for row in update.upserts {
            if let place = places[row.key] {
                next[place] = row
            } else {
                places[row.key] = next.count
                next.append(row)
            }
        }
        guard let order = update.order else { return next }
        return try order.map { key in
            guard let place = places[key] else { throw OutOfStep(base: update.baseRev, held: rev) }
            return next[place]
        }
    }
}

extension Timeline {
    /// Makes the next timeline of an update.
    mutating func apply(_ update: TimelineUpdate) throws {
        if let base = update.baseRev {
            guard base == rev else { throw OutOfStep(base: base, held: rev) }
        } else {
            self = Timeline()
        }
        for change in update.changes {
            guard fits(change) else { throw OutOfStep(base: update.baseRev, held: rev) }
            switch change {
            case .remove(let at, let count):
                items.remove(at: Int(at), count: Int(count))
            case .insert(let at, let rows):
                items.insert(rows, at: Int(at))
            case .update(let at, let item):
                items[Int(at)] = item
            case .grow(let at, let text):
                items[Int(at)] = items[Int(at)].grown(by: text)
            }
        }
        if let pending = update.pending { self.pending = pending }
        if let failed = update.failed { self.failed = failed }
        (rev, loaded, catchingUp) = (update.rev, update.loaded, update.catchingUp)
        (older, newer) = (update.older, update.newer)
        (replaced, error) = (update.replaced, update.error)
    }

    private func fits(_ change: ListChange) -> Bool {
        switch change {
        case .remove(let at, let count): Int(at) + Int(count) <= items.count
        case .insert(let at, _): Int(at) <= items.count
        case .update(let at, _), .grow(let at, _): Int(at) < items.count
        }
    }
}

extension TimelineItem {
    fileprivate func grown(by more: String) -> TimelineItem {
        TimelineItem(
            id: id, index: index, kind: kind, atMs: atMs, text: text + more, stream: stream,
            status: status, exitCode: exitCode, intentId: intentId)
    }
}

extension AgentScreen {
    /// Makes the next screen of an update.
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
