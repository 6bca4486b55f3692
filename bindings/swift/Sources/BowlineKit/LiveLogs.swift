import BowlineFFI
import Foundation
import Observation

/// An item of a service's log.
public struct LiveItem<Value: Sendable>: Sendable {
    /// What identifies it in its log for as long as it is shown.
    public let id: String
    /// Its place in the log, which no other item ever has; none for one that an intent is expected to add.
    public let index: UInt32?
    /// Its value; none when it is too large to be sent, or ``isUnreadable``.
    public internal(set) var value: Value?
    /// The size of such a value in bytes.
    public let omittedBytes: UInt32?
    /// Whether its service cannot read what is stored of it any more.
    public let isUnreadable: Bool
    /// Whether it is what an intent of this app is expected to add (LD-3).
    public let isPending: Bool
    /// Why the intent failed that was expected to add it, until it is dismissed.
    public let failure: RowFailure?
    /// The JSON of a value that may grow, with the member that does.
    var source: (json: String, growing: String)?
}

extension LiveItem: Equatable where Value: Equatable {
    /// The same item with the same value.
    public static func == (left: Self, right: Self) -> Bool {
        left.id == right.id && left.omittedBytes == right.omittedBytes
            && left.isUnreadable == right.isUnreadable && left.isPending == right.isPending
            && left.failure == right.failure && left.value == right.value
    }
}

extension LiveItem: Identifiable {}

/// How values of a log are made: decoded once for each revision, and extended by text.
struct ItemReader<Value: Sendable>: Sendable {
    let decode: @Sendable (String) throws -> Value
    /// Extends a value by text; without it, a value that grew is decoded anew.
    var growing: (@Sendable (inout Value, String) -> Void)?

    func item(_ row: JsonItem) throws -> LiveItem<Value> {
        let value = row.omittedBytes == nil ? try decode(row.json) : nil
        // Nothing is kept for what needs no decoding any more.
        let source = growing == nil ? row.growing.map { (row.json, $0) } : nil
        return LiveItem(
            id: row.id, index: row.index, value: value, omittedBytes: row.omittedBytes, isUnreadable: row.unreadable,
            isPending: row.pending, failure: row.failure, source: source)
    }

    func grown(_ item: LiveItem<Value>, by text: String) throws -> LiveItem<Value> {
        var item = item
        if let growing {
            if var value = item.value {
                item.value = nil
                growing(&value, text)
                item.value = value
            }
        } else if let (json, member) = item.source {
            let whole = grownJson(json: json, growing: member, text: text)
            item.value = try decode(whole)
            item.source = (whole, member)
        } else {
            throw OutOfStep()
        }
        return item
    }
}

/// The newest items of a service's log, as of one revision (LD-2).
public struct LiveLog<Value: Sendable>: Sendable {
    var list = LiveList<LiveItem<Value>>()
    /// Grows with each change.
    public var rev: UInt32 { list.rev }
    /// The newest items, oldest first, and after them those that intents of this app are expected to add. One that is fetched,
    /// because it was too large for an event, is missing meanwhile.
    public var items: ChunkedList<LiveItem<Value>> { list.rows }
    /// What to show besides them.
    public var state: TableState { list.state }
    /// Why they are not current.
    public var error: LoadFailure? { list.error }
    /// Items before the first one; ``Bowline/loadOlderItems(_:_:on:)`` loads them.
    public var older: MoreRows { list.beyond }
    /// Whether the daemon has older items than fit; they are left out.
    public var truncated: Bool { list.truncated }
    /// Indexes of the items that the daemon keeps, as far as known.
    public internal(set) var kept: Range<UInt32> = 0..<0
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public var isReady: Bool { list.isReady }

    /// The value before the first update.
    public init() {}

    /// Applies an update to this log; the value of each new item is decoded here, once.
    mutating func apply(_ update: LogUpdate, reader: ItemReader<Value>) throws {
        let new = try update.rows.map(reader.item)
        try list.apply(base: update.baseRev, rev: update.rev, changes: update.changes, rows: new, grow: reader.grown)
        (list.state, list.error) = (update.state, update.error)
        (list.beyond, list.truncated) = (update.older, update.truncated)
        kept = update.first..<max(update.first, update.next)
    }
}

extension Bowline {
    /// A service's log: its newest items, then every new one and every growth (LD-2). `params` says which log, as the service
    /// defines. Each loop has a subscription of its own; all with the same name and parameters share what they follow.
    ///
    /// An item is decoded once for each new value, on the library's thread. `growing` appends text to a value that the service
    /// lets grow; without it, such a value is decoded anew from its whole JSON. The loop ends with
    /// ``SubscriptionEnded`` when an item is not of that type (`.listenerFailed`), the host is forgotten, or it has its most
    /// logs open.
    public func log<Value: Decodable & Sendable>(
        _ name: String, _ params: some Encodable & Sendable = [String: String](), on serverId: String,
        as _: Value.Type = Value.self, growing: (@Sendable (inout Value, String) -> Void)? = nil
    ) -> Snapshots<LiveLog<Value>> {
        let reader = ItemReader<Value>(decode: decoded, growing: growing)
        return Snapshots(LiveLog(), apply: { try $0.apply($1, reader: reader) }) { receive in
            try self.open().subscribeLog(
                serverId: serverId, name: name, paramsJson: encoded(params), listener: ItemsProxy(receive))
        }
    }

    /// Loads the page before the oldest item of a log that is followed; a later value has the result.
    public func loadOlderItems(
        _ name: String, _ params: some Encodable & Sendable = [String: String](), on serverId: String
    ) throws {
        try open().loadOlderItems(serverId: serverId, name: name, paramsJson: encoded(params))
    }

    /// Loads the items of a log that is followed again, also after a refusal.
    public func refreshLog(
        _ name: String, _ params: some Encodable & Sendable = [String: String](), on serverId: String
    ) throws {
        try open().refreshLog(serverId: serverId, name: name, paramsJson: encoded(params))
    }
}

/// The newest items of a service's log, for views. A view that reads one of its parts is drawn anew when that part changes.
@MainActor
@Observable
public final class LogStore<Value: Decodable & Sendable> {
    /// The newest items, oldest first.
    public var items: ChunkedList<LiveItem<Value>> { shown.rows }
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public var isReady: Bool { shown.isReady }
    /// What to show besides them.
    public var state: TableState { shown.state }
    /// Why they are not current.
    public var error: LoadFailure? { shown.error }
    /// Items before the first one; ``loadOlder()`` loads them.
    public var older: MoreRows { shown.beyond }
    /// Whether the daemon has older items than fit; they are left out.
    public var truncated: Bool { shown.truncated }
    /// Indexes of the items that the daemon keeps, as far as known.
    public private(set) var kept: Range<UInt32> = 0..<0
    /// Why updates stopped: the host was forgotten or is unknown, a value could not be decoded, or the
    /// limit of open logs is reached, which is retried.
    public var failure: (any Error)? { shown.failure }

    @ObservationIgnored private let shown = ShownList<LiveItem<Value>>()
    @ObservationIgnored private let followed: Followed?
    @ObservationIgnored private var loop: Loop?

    /// A log of an app's host, as ``Bowline/log(_:_:on:as:growing:)``.
    public convenience init(
        _ bowline: Bowline, serverId: String, name: String,
        params: some Encodable & Sendable = [String: String](), as _: Value.Type = Value.self,
        growing: (@Sendable (inout Value, String) -> Void)? = nil
    ) {
        let logs = bowline.log(name, params, on: serverId, as: Value.self, growing: growing)
        self.init(logs, of: Followed(bowline: bowline, serverId: serverId, name: name, params: params))
    }

    init(_ logs: Snapshots<LiveLog<Value>>, of followed: Followed?) {
        self.followed = followed
        loop = Loop(logs) { [weak self, shown] in
            shown.show($0.list)
            if let self, kept != $0.kept { kept = $0.kept }
        } failed: { [shown] in
            shown.fail($0)
        }
    }

    /// Loads the page before the oldest item.
    public func loadOlder() throws {
        guard let followed else { return }
        try followed.bowline.loadOlderItems(followed.name, followed.params, on: followed.serverId)
    }

    /// Loads the items again, also after a refusal.
    public func refresh() throws {
        guard let followed else { return }
        try followed.bowline.refreshLog(followed.name, followed.params, on: followed.serverId)
    }
}

final class ItemsProxy: ItemsListener {
    private let listener: Listener<LogUpdate>
    init(_ receive: @escaping @Sendable (LogUpdate) throws -> Void) { listener = Listener(receive: receive) }
    func onItems(update: LogUpdate) throws { try listener.call(update) }
}
