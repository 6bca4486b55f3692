import BowlineFFI
import Observation

/// What tables and logs of services have in common: rows, and what to show besides them, as of one revision (LD-2).
struct LiveList<Row: Sendable>: Sendable {
    var rev: UInt32 = 0
    var rows = ChunkedList<Row>()
    var state: TableState = .loading
    var error: LoadFailure?
    /// Rows beyond the end at which more are loaded.
    var beyond: MoreRows = .none
    var truncated = false
    /// The revision that changed the rows last, so that a store need not compare them.
    var rowsRev: UInt32 = 0
    var isReady = false

    /// Applies changes, whose new rows were decoded.
    mutating func apply(
        base: UInt32?, rev next: UInt32, changes: [ListChange], rows new: [Row],
        grow: (Row, String) throws -> Row = { _, _ in throw OutOfStep() }
    ) throws {
        if try !follows(base, rev) { self = LiveList() }
        try rows.apply(changes, rows: new, grow: grow)
        if base == nil || !changes.isEmpty { rowsRev = next }
        (rev, isReady) = (next, true)
    }
}

/// The table or log that a store shows; none in a preview, which has nothing to load.
struct Followed: Sendable {
    let bowline: Bowline
    let serverId: String
    let name: String
    let params: any Encodable & Sendable
}

/// The newest list, for views. A view that reads one of its parts is drawn anew when that part changes.
@MainActor
@Observable
final class ShownList<Row: Sendable> {
    private(set) var rows = ChunkedList<Row>()
    private(set) var isReady = false
    private(set) var state: TableState = .loading
    private(set) var error: LoadFailure?
    private(set) var beyond: MoreRows = .none
    private(set) var truncated = false
    private(set) var failure: (any Error)?

    /// The revision of `rows`; none where those of a new subscription are not comparable with it.
    @ObservationIgnored private var rowsRev: UInt32?

    func show(_ next: LiveList<Row>) {
        // Only changed values are assigned, because every assignment notifies observers.
        if rowsRev != next.rowsRev { (rows, rowsRev) = (next.rows, next.rowsRev) }
        if !isReady { isReady = next.isReady }
        if state != next.state { state = next.state }
        if error != next.error { error = next.error }
        if beyond != next.beyond { beyond = next.beyond }
        if truncated != next.truncated { truncated = next.truncated }
        if failure != nil { failure = nil }
    }

    func fail(_ problem: any Error) {
        (failure, rowsRev) = (problem, nil)
    }
}
