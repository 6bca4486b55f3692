import BowlineKit

/// The screen as lines. Views.swift has the same cases as views.
@MainActor
func drawn(_ model: VoxelModel) -> [String] {
    var lines = [String]()
    if let host = model.host { lines.append(Texts.connection(host)) }
    if let offer = model.offer { lines.append(Texts.offer(offer.info)) }
    lines += (model.hosts?.pairings ?? []).compactMap(\.code).map(Texts.code)
    if let problem = model.problem { lines.append(Texts.problem(problem)) }
    if let projects = model.projects {
        lines += drawn("Projects", projects, none: Texts.noProjects) { $0.name }
    }
    if let chosen = model.chosen, let layers = model.layers, let edits = model.edits {
        lines += drawn("Layers of \(chosen)", layers, none: Texts.noLayers, Texts.layer)
        lines += drawn("Edits", edits, none: Texts.noEdits, Texts.edit)
    }
    return lines
}

@MainActor
private func drawn<Value>(
    _ title: String, _ table: TableStore<Value>, none: String, _ line: (Value) -> String
) -> [String] {
    let state = Texts.state(table.state, table.error, isEmpty: table.rows.isEmpty, none: none)
    var lines = top(title, table.failure, state)
    for row in table.rows {
        let value = row.value.map(line) ?? "\(row.key): \(Texts.unshown(isUnreadable: row.isUnreadable))"
        lines.append("  " + value + (Texts.mark(row).map { " (\($0))" } ?? ""))
    }
    return lines + (table.more == .none ? [] : ["  … more"])
}

@MainActor
private func drawn<Value>(
    _ title: String, _ log: LogStore<Value>, none: String, _ line: (Value) -> String
) -> [String] {
    let state = Texts.state(log.state, log.error, isEmpty: log.items.isEmpty, none: none)
    let older = log.older == .none ? [] : ["  … older"]
    return top(title, log.failure, state) + older + log.items.map { item in
        "  " + (item.value.map(line) ?? Texts.unshown(isUnreadable: item.isUnreadable))
    }
}

private func top(_ title: String, _ failure: (any Error)?, _ state: String?) -> [String] {
    ["\(title):"] + (failure.map { ["  \($0.localizedDescription)"] } ?? []) + (state.map { ["  \($0)"] } ?? [])
}
