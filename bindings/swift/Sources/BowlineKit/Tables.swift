import BowlineFFI
import Foundation
import Observation

/// A row of a service's table.
public struct LiveRow<Value: Sendable>: Sendable {
    /// Its key.
    public let key: String
    /// Its value; none when it is too large to be sent, or ``isUnreadable``.
    public let value: Value?
    /// The size of such a value in bytes.
    public let omittedBytes: UInt32?
    /// Whether its service cannot read what is stored of it any more.
    public let isUnreadable: Bool
    /// Whether the value is what an intent of this app is expected to make of it (LD-3).
    public let isPending: Bool
    /// Why the newest intent of this app that concerned the row failed, until it is dismissed.
    public let failure: RowFailure?
}

extension LiveRow: Equatable where Value: Equatable {}

extension LiveRow: Identifiable {
    /// Permanent key of the row.
    public var id: String { key }
}

/// Rows of a service's table, as of one revision (LD-2). Not `Table`, which is a view of SwiftUI.
public struct LiveTable<Value: Sendable>: Sendable {
    var list = LiveList<LiveRow<Value>>()
    /// Grows with each change.
    public var rev: UInt32 { list.rev }
    /// The first rows in order of key, without gaps.
    public var rows: ChunkedList<LiveRow<Value>> { list.rows }
    /// What to show besides them.
    public var state: TableState { list.state }
    /// Why they are not current.
    public var error: LoadFailure? { list.error }
    /// Rows after the last one; ``Bowline/loadMoreRows(_:_:on:)`` loads them.
    public var more: MoreRows { list.beyond }
    /// Whether the table has more rows than fit; those after the last one are left out.
    public var truncated: Bool { list.truncated }
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public var isReady: Bool { list.isReady }

    /// The value before the first update.
    public init() {}

    /// Applies an update to this table; the value of each new row is decoded here, once.
    mutating func apply(_ update: TableUpdate, decode: (String) throws -> Value) throws {
        let new = try update.rows.map { row in
            let value = row.omittedBytes == nil ? try decode(row.json) : nil
            return LiveRow(
                key: row.key, value: value, omittedBytes: row.omittedBytes, isUnreadable: row.unreadable,
                isPending: row.pending, failure: row.failure)
        }
        try list.apply(base: update.baseRev, rev: update.rev, changes: update.changes, rows: new)
        (list.state, list.error) = (update.state, update.error)
        (list.beyond, list.truncated) = (update.more, update.truncated)
    }
}

extension Bowline {
    /// Rows of a service's table: the first ones, then every change (LD-2). `params` says which rows, as the service defines.
    /// Each loop has a subscription of its own; all with the same name and parameters share what they follow.
    ///
    /// A row is decoded once for each new value, on the library's thread. The loop ends with ``SubscriptionEnded`` when a row is
    /// not of that type (`.listenerFailed`), the host is forgotten, or it has its most tables open.
    public func table<Value: Decodable & Sendable>(
        _ name: String, _ params: some Encodable & Sendable = [String: String](), on serverId: String,
        as _: Value.Type = Value.self
    ) -> Snapshots<LiveTable<Value>> {
        Snapshots(LiveTable(), apply: { try $0.apply($1, decode: decoded) }) { receive in
            try self.open().subscribeTable(
                serverId: serverId, name: name, paramsJson: encoded(params), listener: TableProxy(receive))
        }
    }

    /// Loads the page after the last row of a table that is followed; a later value has the result.
    public func loadMoreRows(
        _ name: String, _ params: some Encodable & Sendable = [String: String](), on serverId: String
    ) throws {
        try open().loadMoreRows(serverId: serverId, name: name, paramsJson: encoded(params))
    }

    /// Loads the rows of a table that is followed again, also after a refusal.
    public func refreshTable(
        _ name: String, _ params: some Encodable & Sendable = [String: String](), on serverId: String
    ) throws {
        try open().refreshTable(serverId: serverId, name: name, paramsJson: encoded(params))
    }
}

/// Rows of a service's table, for views. A view that reads one of its parts is drawn anew when that part changes.
@MainActor
@Observable
public final class TableStore<Value: Decodable & Sendable> {
    /// The first rows in order of key, without gaps.
    public var rows: ChunkedList<LiveRow<Value>> { shown.rows }
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public var isReady: Bool { shown.isReady }
    /// What to show besides them.
    public var state: TableState { shown.state }
    /// Why they are not current.
    public var error: LoadFailure? { shown.error }
    /// Rows after the last one; ``loadMore()`` loads them.
    public var more: MoreRows { shown.beyond }
    /// Whether the table has more rows than fit; those after the last one are left out.
    public var truncated: Bool { shown.truncated }
    /// Why updates stopped: the host was forgotten or is unknown, a value could not be decoded, or the
    /// limit of open tables is reached, which is retried.
    public var failure: (any Error)? { shown.failure }

    @ObservationIgnored private let shown = ShownList<LiveRow<Value>>()
    @ObservationIgnored private let followed: Followed?
    @ObservationIgnored private var loop: Loop?

    /// Rows of a table of an app's host, as ``Bowline/table(_:_:on:as:)``.
    public convenience init(
        _ bowline: Bowline, serverId: String, name: String,
        params: some Encodable & Sendable = [String: String](), as _: Value.Type = Value.self
    ) {
        let tables = bowline.table(name, params, on: serverId, as: Value.self)
        self.init(tables, of: Followed(bowline: bowline, serverId: serverId, name: name, params: params))
    }

    init(_ tables: Snapshots<LiveTable<Value>>, of followed: Followed?) {
        self.followed = followed
        loop = Loop(tables) { [shown] in
            shown.show($0.list)
        } failed: { [shown] in
            shown.fail($0)
        }
    }

    /// Loads the page after the last row.
    public func loadMore() throws {
        guard let followed else { return }
        try followed.bowline.loadMoreRows(followed.name, followed.params, on: followed.serverId)
    }

    /// Loads the rows again, also after a refusal.
    public func refresh() throws {
        guard let followed else { return }
        try followed.bowline.refreshTable(followed.name, followed.params, on: followed.serverId)
    }
}

final class TableProxy: TableListener {
    private let listener: Listener<TableUpdate>
    init(_ receive: @escaping @Sendable (TableUpdate) throws -> Void) { listener = Listener(receive: receive) }
    func onTable(update: TableUpdate) throws { try listener.call(update) }
}
