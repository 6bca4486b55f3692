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
    /// Grows with each change.
    public internal(set) var rev: UInt32 = 0
    /// The first rows in order of key, without gaps.
    public internal(set) var rows = ChunkedList<LiveRow<Value>>()
    /// What to show besides them.
    public internal(set) var state: TableState = .loading
    /// Why they are not current.
    public internal(set) var error: LoadFailure?
    /// Rows after the last one; ``Bowline/loadMoreRows(_:_:on:)`` loads them.
    public internal(set) var more: MoreRows = .none
    /// Whether the table has more rows than fit; those after the last one are left out.
    public internal(set) var truncated = false
    /// The revision that changed the rows last, so that a store need not compare them.
    var rowsRev: UInt32 = 0
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public internal(set) var isReady = false

    /// The value before the first update.
    public init() {}

    /// Applies an update to this table; the value of each new row is decoded here, once.
    mutating func apply(_ update: TableUpdate, decode: (String) throws -> Value) throws {
        if try !follows(update.baseRev, rev) { self = LiveTable() }
        let new = try update.rows.map { row in
            let value = row.omittedBytes == nil ? try decode(row.json) : nil
            return LiveRow(
                key: row.key, value: value, omittedBytes: row.omittedBytes, isUnreadable: row.unreadable,
                isPending: row.pending, failure: row.failure)
        }
        try rows.apply(update.changes, rows: new) { _, _ in throw OutOfStep() }
        if update.baseRev == nil || !update.changes.isEmpty { rowsRev = update.rev }
        (rev, state, error) = (update.rev, update.state, update.error)
        (more, truncated, isReady) = (update.more, update.truncated, true)
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
    public private(set) var rows = ChunkedList<LiveRow<Value>>()
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public private(set) var isReady = false
    /// What to show besides them.
    public private(set) var state: TableState = .loading
    /// Why they are not current.
    public private(set) var error: LoadFailure?
    /// Rows after the last one; ``loadMore()`` loads them.
    public private(set) var more: MoreRows = .none
    /// Whether the table has more rows than fit; those after the last one are left out.
    public private(set) var truncated = false
    /// Why updates stopped: the host was forgotten or is unknown, a value could not be decoded, or the
    /// limit of open tables is reached, which is retried.
    public private(set) var failure: (any Error)?

    /// The revision of `rows`; none where those of a new subscription are not comparable with it.
    @ObservationIgnored private var rowsRev: UInt32?
    @ObservationIgnored private let bowline: Bowline
    @ObservationIgnored private let serverId: String
    @ObservationIgnored private let name: String
    @ObservationIgnored private let params: any Encodable & Sendable
    @ObservationIgnored private var loop: Loop?

    /// Rows of a table of an app's host, as ``Bowline/table(_:_:on:as:)``.
    public convenience init(
        _ bowline: Bowline, serverId: String, name: String,
        params: some Encodable & Sendable = [String: String](), as _: Value.Type = Value.self
    ) {
        let tables = bowline.table(name, params, on: serverId, as: Value.self)
        self.init(bowline, serverId: serverId, name: name, params: params, tables: tables)
    }

    init(
        _ bowline: Bowline, serverId: String, name: String, params: any Encodable & Sendable,
        tables: Snapshots<LiveTable<Value>>
    ) {
        (self.bowline, self.serverId, self.name, self.params) = (bowline, serverId, name, params)
        loop = Loop(tables) { [weak self] in
            self?.show($0)
        } failed: { [weak self] in
            self?.failure = $0
            self?.rowsRev = nil
        }
    }

    /// Loads the page after the last row.
    public func loadMore() throws {
        try bowline.loadMoreRows(name, params, on: serverId)
    }

    /// Loads the rows again, also after a refusal.
    public func refresh() throws {
        try bowline.refreshTable(name, params, on: serverId)
    }

    private func show(_ next: LiveTable<Value>) {
        // Only changed values are assigned, because every assignment notifies observers.
        if rowsRev != next.rowsRev { (rows, rowsRev) = (next.rows, next.rowsRev) }
        if !isReady { isReady = next.isReady }
        if state != next.state { state = next.state }
        if error != next.error { error = next.error }
        if more != next.more { more = next.more }
        if truncated != next.truncated { truncated = next.truncated }
        if failure != nil { failure = nil }
    }
}

final class TableProxy: TableListener {
    private let listener: Listener<TableUpdate>
    init(_ receive: @escaping @Sendable (TableUpdate) throws -> Void) { listener = Listener(receive: receive) }
    func onTable(update: TableUpdate) throws { try listener.call(update) }
}
