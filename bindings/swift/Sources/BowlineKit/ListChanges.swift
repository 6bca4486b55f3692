import BowlineFFI

/// An update for another list than the held one. Thrown from a callback, it makes the library send
/// the whole list.
struct OutOfStep: Error {}

/// Whether an update continues the held revision; false if it starts from an empty list.
func follows(_ base: UInt32?, _ held: UInt32) throws -> Bool {
    guard let base else { return false }
    guard base == held else { throw OutOfStep() }
    return true
}

extension ChunkedList {
    /// Applies the changes; insertions and replacements take `rows` in order, and `grow` appends to the text of a row. When a
    /// position is outside of the list, the changes before that one remain applied.
    mutating func apply(
        _ changes: [ListChange], rows: [Element], grow: (Element, String) throws -> Element
    ) throws {
        var unused = rows[...]
        func take(_ count: Int) throws -> ArraySlice<Element> {
            guard count <= unused.count else { throw OutOfStep() }
            defer { unused = unused.dropFirst(count) }
            return unused.prefix(count)
        }
        for change in changes {
            switch change {
            case .remove(let at, let gone):
                guard Int(at) + Int(gone) <= count else { throw OutOfStep() }
                remove(at: Int(at), count: Int(gone))
            case .insert(let at, let added):
                guard Int(at) <= count else { throw OutOfStep() }
                insert(try take(Int(added)), at: Int(at))
            case .update(let at):
                guard Int(at) < count else { throw OutOfStep() }
                for row in try take(1) { self[Int(at)] = row }
            case .grow(let at, let text):
                guard Int(at) < count else { throw OutOfStep() }
                self[Int(at)] = try grow(self[Int(at)], text)
            }
        }
    }
}
