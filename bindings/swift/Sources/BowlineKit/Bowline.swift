import BowlineFFI
import Foundation

/// Keeps an app attached to its hosts. An app has one, for as long as it runs.
///
/// Apps neither connect nor disconnect (INV-7): the library does, and its ``PlatformObserver`` reports
/// the app's life cycle and network changes to it. Views read ``HostsStore``, ``DirectoryStore`` and
/// ``AgentScreenStore``, and send intents.
///
/// Safe to use from any thread. Only `async` calls wait for the network; the others wait at most for
/// the disk.
public final class Bowline: Sendable {
    private let runtime: BowlineRuntime
    private let closed = Flag()
    private let observing: Observing

    /// Opens it.
    ///
    /// - Parameters:
    ///   - config: Storage folder, name and version of the app.
    ///   - keyStore: Holds the identity of this install; without one, the storage folder does.
    ///   - platform: Reports the app's life cycle and network changes.
    /// - Throws: ``LibraryMismatch``; ``BowlineError`` when the storage cannot be used, or its identity
    ///   is corrupt: none is generated in its place (INV-9).
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

    /// The state of all hosts.
    public var hosts: Snapshots<HostsSnapshot> {
        Snapshots(.empty, apply: replaceHosts) { receive in
            try self.open().subscribeHosts(listener: HostsProxy(receive))
        }
    }

    /// The agents of all hosts in one list (DS-2).
    public var directory: Snapshots<Directory> {
        Snapshots(Directory(), apply: { try $0.apply($1) }) { receive in
            try self.open().subscribeDirectory(listener: DirectoryProxy(receive))
        }
    }

    /// The screen of an agent, or of one being created.
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

    /// The content of an offer, for a person to confirm before ``pair(_:)``. Contacts nobody.
    ///
    /// - Throws: ``BowlineError/InvalidOffer`` if the text is no offer, or was tampered with.
    public func inspectOffer(_ offer: String) throws -> OfferInfo {
        try open().inspectOffer(offer: offer)
    }

    /// Pairs with the daemon of an offer, which a person has confirmed. Returns once the daemon has proved its identity and
    /// accepted this device.
    ///
    /// - Throws: ``BowlineError`` with the reason and the recommended action; nothing is stored then.
    @discardableResult
    public func pair(_ offer: String) async throws -> HostInfo {
        try await open().pair(offer: offer)
    }

    /// Forgets a host: its key, its addresses and its pending intents. Returns whether it was
    /// known.
    @discardableResult
    public func forget(_ serverId: String) async throws -> Bool {
        try await open().forgetHost(serverId: serverId)
    }

    /// The providers of a host.
    public func providers(of serverId: String) async throws -> [ProviderInfo] {
        try await open().providers(serverId: serverId)
    }

    /// Asks a read-only method of the daemon, or of a service linked into it. While the host connects, the query waits for
    /// up to 15 s; with the answer, it takes 30 s at most. It is sent once and not repeated; changes are for ``send(_:to:)``.
    ///
    /// - Throws: ``BowlineError``, or `DecodingError` if the result is of another shape.
    public func query<Result: Decodable>(
        _ method: String, _ params: some Encodable & Sendable = [String: String](), of serverId: String,
        as _: Result.Type = Result.self
    ) async throws -> Result {
        let json = try await open().query(serverId: serverId, method: method, paramsJson: encoded(params))
        return try decoded(json)
    }

    /// Checks and stores an intent, and returns its id at once. The daemon executes it exactly once,
    /// across lost connections and restarts of the app (BX-1); the snapshots report its outcome.
    @discardableResult
    public func send(_ intent: Intent, to serverId: String) throws -> String {
        try open().send(serverId: serverId, intent: intent)
    }

    /// The whole result, as JSON, of an executed intent whose result was too long for a snapshot; none
    /// if the intent is not among the latest 64 of the host, or had no result.
    public func result(of intentId: String, on serverId: String) throws -> String? {
        try open().intentResult(serverId: serverId, intentId: intentId)
    }

    /// Loads the page before the oldest item of an open timeline; a later value has the result.
    public func loadOlder(on serverId: String, of agentId: String) throws {
        try open().loadOlder(serverId: serverId, agentId: agentId)
    }

    /// Loads the page after the last item of an open timeline, unless that is the newest.
    public func loadNewer(on serverId: String, of agentId: String) throws {
        try open().loadNewer(serverId: serverId, agentId: agentId)
    }

    /// Moves the view of an open timeline to its newest items.
    public func jumpToNewest(on serverId: String, of agentId: String) throws {
        try open().jumpToNewest(serverId: serverId, agentId: agentId)
    }

    /// Retries a failed load of an open timeline at once.
    public func reload(on serverId: String, of agentId: String) throws {
        try open().reload(serverId: serverId, agentId: agentId)
    }

    /// Dismisses a failed message, creation or change of rows, so that it is no longer shown.
    public func dismiss(_ intentId: String, on serverId: String) throws {
        try open().dismiss(serverId: serverId, intentId: intentId)
    }

    /// Loads the lists of all hosts again (DS-2).
    public func refresh() throws {
        try open().refresh()
    }

    /// Selects a path of a host, one of its probes; none selects the best.
    public func selectPath(_ path: Probe?, of serverId: String) throws {
        try open().selectPath(serverId: serverId, path: path)
    }

    /// Closes all connections and subscriptions and waits until they have ended, a few seconds at
    /// most. Intents without an outcome stay stored.
    public func shutdown() async throws {
        if end() { try await runtime.shutdown() }
    }

    /// Closes all connections and subscriptions without waiting. May be called repeatedly; happens
    /// by itself when the last reference is dropped.
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

    /// The library, unless this is closed.
    func open() throws -> BowlineRuntime {
        if closed.isSet {
            throw BowlineError.Closed(detail: "this Bowline is closed", advice: .nothing, reason: nil)
        }
        return runtime
    }
}

/// JSON of what an app sends to a service. Equal values have the same text.
func encoded(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}

/// What a service sends to an app, from its JSON.
@Sendable func decoded<Value: Decodable>(_ json: String) throws -> Value {
    try JSONDecoder().decode(Value.self, from: Data(json.utf8))
}

/// The target of the platform's observers. Late calls have no effect.
private struct Target: PlatformTarget {
    let runtime: BowlineRuntime
    let closed: Flag

    func tell(_ event: PlatformEvent) {
        // Subscriptions report why the library ended; the platform does not need it.
        if !closed.isSet { try? runtime.platformEvent(event: event) }
    }

    func pause() async throws {
        if !closed.isSet { try await runtime.pause() }
    }

    func resume() async throws {
        if !closed.isSet { try await runtime.resume() }
    }
}

/// A flag that can be set once.
final class Flag: @unchecked Sendable {
    private let lock = NSLock()
    private var value = false

    var isSet: Bool {
        lock.lock()
        defer { lock.unlock() }
        return value
    }

    /// Sets the flag. True for the first call.
    func set() -> Bool {
        lock.lock()
        defer { lock.unlock() }
        let isFirst = !value
        value = true
        return isFirst
    }
}
