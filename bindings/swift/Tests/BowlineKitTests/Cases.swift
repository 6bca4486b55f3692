import BowlineFFI
import Foundation

/// One update of a list.
struct Step {
    let base: UInt32?
    let rev: UInt32
    let changes: [ListChange]
    let rows: [String]
    /// What the list shows then; none if the update is refused.
    let shows: [String]?

    init(line: String) throws {
        let cells = line.split(separator: "|", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
        guard cells.count == 5, let rev = UInt32(cells[1]) else { throw Late(description: "not five cells: \(line)") }
        base = UInt32(cells[0])
        self.rev = rev
        changes = try cells[2].split(separator: ";").map(change)
        rows = words(cells[3])
        shows = cells[4] == "misfit" ? nil : words(cells[4])
    }
}

private func words(_ text: String) -> [String] {
    text.split(separator: " ").map(String.init)
}

private func change(_ text: Substring) throws -> ListChange {
    let words = words(String(text))
    let at = UInt32(words[1]) ?? .max
    switch words[0] {
    case "remove": return .remove(at: at, count: UInt32(words[2]) ?? .max)
    case "insert": return .insert(at: at, count: UInt32(words[2]) ?? .max)
    case "update": return .update(at: at)
    case "grow": return .grow(at: at, text: words[2])
    default: throw Late(description: "no such change: \(text)")
    }
}

/// The cases of the table that the suites of all languages run, for lists of that kind: `growing` or `fixed`.
func listCases(_ kind: String) throws -> [(name: String, steps: [Step])] {
    let file = URL(filePath: #filePath).appending(path: "../../../../cases/lists.txt").standardized
    var cases: [(lists: String, name: String, steps: [Step])] = []
    for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
        if line.hasPrefix("== ") {
            let head = line.dropFirst(3).components(separatedBy: ": ")
            cases.append((head[0], head[1], []))
        } else if !cases.isEmpty {
            cases[cases.count - 1].steps.append(try Step(line: String(line)))
        }
    }
    return cases.filter { $0.lists == "every" || $0.lists == kind }.map { ($0.name, $0.steps) }
}
