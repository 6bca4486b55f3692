import BowlineFFI
import Foundation

/// Keeps an app attached to its hosts. An app has one, for as long as it runs.
///
/// There is nothing to connect and nothing to disconnect (INV-7): the library does that by itself, and is told of the app's life
/// and of the network by its ``PlatformObserver``. Views read ``HostsStore``, ``DirectoryStore`` and ``AgentScreenStore``, and send
/// intents.
///
/// Safe to use from any thread. No call but the `async` ones waits for anything but the disk.
public final class Bowline: Sendable {
    private let runtime: BowlineRuntime
    private let closed = Flag()
    private let observing: Observing

    /// Opens it.
    ///
    /// - Parameters:
    ///   - config: Storage folder, name and version of the app.
    ///   - keyStore: Where the identity of this install is kept; without one, in the storage folder.
    ///   - platform: Tells of the app's life and of the network.
    /// - Throws: ``LibraryMismatch``; ``BowlineError`` when the storage cannot be used, or an identity in it is corrupt: none
    ///   is made in its place (INV-9).
    public init(
        _ config: RuntimeConfig, keyStore: (any KeyStore)? = nil,
        platform: any PlatformObserver = SystemPlatform()
    ) throws {
        try Library.check()
        let runtime =
            if let keyStore {
                try BowlineRuntime.withKeyStore(config: config, keyStore: keyStore)
            } else {
                try BowlineRuntime(config: config)
            }
        self.runtime = runtime
        observing = platform.observe(Target(runtime: runtime, closed: closed))
    }

    deinit {
        close()
    }

    /// Everything about all hosts.
    public var hosts: Snapshots<HostsSnapshot> {
        Snapshots(.empty, apply: replaceHosts) { receive in
            try self.open().subscribeHosts(listener: HostsProxy(receive))
        }
    }

    /// The agents of all hosts in one list (DS).
    public var directory: Snapshots<Directory> {
        Snapshots(Directory(), apply: { try $0.apply($1) }) { receive in
            try self.open().subscribeDirectory(listener: DirectoryProxy(receive))
        }
    }

    /// The screen of an agent, or of one that is being created.
    public func screen(on serverId: String, of target: ScreenTarget) -> Snapshots<AgentScreen> {
        Snapshots(AgentScreen(serverId: serverId), apply: { try $0.apply($1) }) { receive in
            try self.open().subscribeScreen(serverId: serverId, target: target, listener: ScreenProxy(receive))
        }
    }

    /// One agent's timeline alone.
    public func timeline(on serverId: String, of agentId: String) -> Snapshots<Timeline> {
        Snapshots(Timeline(), apply: { try $0.apply($1) }) { receive in
            try self.open().subscribeTimeline(
                serverId: serverId, target: .agent(agentId: agentId), listener: TimelineProxy(receive))
        }
    }

    /// Pairs with the daemon of an offer, and returns once it has proved its identity and taken this device.
    ///
    /// - Throws: ``BowlineError`` says why not, and what to do; nothing is stored then.
    @discardableResult
    public func pair(_ offer: String) async throws -> HostInfo {
        try await open().pair(offer: offer)
    }

    /// Forgets a host: its key, its addresses, and the intents that wait for it. True if it was known.
    @discardableResult
    public func forget(_ serverId: String) async throws -> Bool {
        try await open().forgetHost(serverId: serverId)
    }

    /// The ways a host can run agents.
    public func providers(of serverId: String) async throws -> [ProviderInfo] {
        try await open().providers(serverId: serverId)
    }

    /// Sends an intent: checks it, keeps it, and returns its id at once. It is done exactly once, across lost connections and
    /// restarts of the app (BX-1); what becomes of it is in the snapshots.
    @discardableResult
    public func send(_ intent: Intent, to serverId: String) throws -> String {
        try open().send(serverId: serverId, intent: intent)
    }

    /// The result of an intent that was done, as JSON, where its outcome says that it was too long to be part of the
    /// snapshots; none if the intent is not among the latest 64 of the host, or had no result.
    public func result(of intentId: String, on serverId: String) throws -> String? {
        try open().intentResult(serverId: serverId, intentId: intentId)
    }

    /// Fetches the page before the oldest item of an agent's timeline, where it is open; it is in a next value.
    public func loadOlder(on serverId: String, of agentId: String) throws {
        try open().loadOlder(serverId: serverId, agentId: agentId)
    }

    /// Fetches the page after the last item of an open timeline, where that is not the newest.
    public func loadNewer(on serverId: String, of agentId: String) throws {
        try open().loadNewer(serverId: serverId, agentId: agentId)
    }

    /// Shows the newest items of an open timeline, wherever its view was.
    public func jumpToNewest(on serverId: String, of agentId: String) throws {
        try open().jumpToNewest(serverId: serverId, agentId: agentId)
    }

    /// Tries again at once to load an open timeline, after that failed.
    public func reload(on serverId: String, of agentId: String) throws {
        try open().reload(serverId: serverId, agentId: agentId)
    }

    /// The user has seen that a message or a creation failed: it is shown no more.
    public func dismiss(_ intentId: String, on serverId: String) throws {
        try open().dismiss(serverId: serverId, intentId: intentId)
    }

    /// Fetches the lists of all hosts again (DS).
    public func refresh() throws {
        try open().refresh()
    }

    /// The user wants that path of a host, one of its probes; or the best one, with none.
    public func selectPath(_ path: Probe?, of serverId: String) throws {
        try open().selectPath(serverId: serverId, path: path)
    }

    /// Ends everything and waits until it is done, a few seconds at most. Intents without an outcome are kept.
    public func shutdown() async throws {
        if end() { try await runtime.shutdown() }
    }

    /// Ends everything, without waiting for it. Any number of times; done by itself when nobody holds this object.
    public func close() {
        if end() {
            let runtime = runtime
            Task { try? await runtime.shutdown() }
        }
    }

    private func end() -> Bool {
        let isFirst = closed.set()
        if isFirst { observing.end() }
        return isFirst
    }

    private func open() throws -> BowlineRuntime {
        if closed.isSet {
            throw BowlineError.Closed(detail: "this Bowline is closed", advice: .nothing, reason: nil)
        }
        return runtime
    }
}

/// What the platform's observers hold. Late ones do no harm.
private struct Target: PlatformTarget {
    let runtime: BowlineRuntime
    let closed: Flag

    func tell(_ event: PlatformEvent) {
        // What ended the library is told by its subscriptions; the platform has no use for it.
        if !closed.isSet { try? runtime.platformEvent(event: event) }
    }

    func pause() async throws {
        if !closed.isSet { try await runtime.pause() }
    }

    func resume() async throws {
        if !closed.isSet { try await runtime.resume() }
    }
}

/// Is set once.
final class Flag: @unchecked Sendable {
    private let lock = NSLock()
    private var value = false

    var isSet: Bool {
        lock.lock()
        defer { lock.unlock() }
        return value
    }

    /// True for the first to set it.
    func set() -> Bool {
        lock.lock()
        defer { lock.unlock() }
        let isFirst = !value
        value = true
        return isFirst
    }
}
