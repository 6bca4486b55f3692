// What a changed row costs in a short and in a long table.

import BowlineFFI
import BowlineKit

/// Rows changed for one sample.
private let changed = 200

/// A row changed in tables of 100 and of 100,000, until a loop over the package's own tables has it; a sample is the mean of
/// many. The two take turns row by row, so that what else the machine does falls on both.
func measureRows(samples: Int) async throws -> [Figure] {
    var (short, long) = (Figure("row_100"), Figure("row_100000"))
    var (few, many) = (try await Cells(100), try await Cells(100_000))
    for round in -1..<samples {
        (few.took, many.took) = (0, 0)
        for _ in 1...changed {
            try await few.change()
            try await many.change()
        }
        // The first round warms up.
        guard round >= 0 else { continue }
        short.add(few.took / Double(changed))
        long.add(many.took / Double(changed))
    }
    return [short, long]
}

/// A value of the table.
private struct Cell: Codable, Sendable {
    let text: String
    let times: Int
}

/// A table whose rows are changed, each time another, spread over it, and a loop that follows it.
private struct Cells {
    private let preview = PreviewData(hosts: 0, items: 0)
    private var tables: Snapshots<LiveTable<Cell>>.AsyncIterator
    private let length: Int
    private var times = 0
    /// Microseconds that the changed rows took.
    var took = 0.0

    init(_ length: Int) async throws {
        self.length = length
        try preview.showTable(name: "cells", rows: (0..<length).map { try Self.row($0, times: 0) })
        tables = preview.table("cells", as: Cell.self).makeAsyncIterator()
        while try await shown().rows.count != length {}
    }

    mutating func change() async throws {
        times += 1
        let place = times * max(1, length / changed) % length
        let row = try Self.row(place, times: times)
        let watch = Stopwatch()
        try preview.changeRow(name: "cells", row: row)
        while try await shown().rows[place].value?.times != times {}
        took += watch.micros
    }

    private mutating func shown() async throws -> LiveTable<Cell> {
        guard let table = try await tables.next() else { throw Unexpected("the table ended") }
        return table
    }

    private static func row(_ place: Int, times: Int) throws -> PreviewRow {
        let digits = String(place)
        let key = "c" + String(repeating: "0", count: 6 - digits.count) + digits
        return try PreviewRow(key, Cell(text: "text \(place)", times: times))
    }
}
