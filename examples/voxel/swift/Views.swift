#if canImport(SwiftUI)
    import BowlineKit
    import SwiftUI

    /// The app's window: pairing at first, then the computer's connection, its projects, and what is in the chosen one.
    struct ContentView: View {
        let model: VoxelModel

        var body: some View {
            List {
                if let host = model.host { Text(Texts.connection(host)) } else { PairingSection(model: model) }
                if let problem = model.problem { Text(Texts.problem(problem)).foregroundStyle(.red) }
                if let projects = model.projects { ProjectsSection(model: model, projects: projects) }
                if let chosen = model.chosen, let layers = model.layers {
                    LayersSection(model: model, project: chosen, layers: layers)
                }
                if let edits = model.edits { EditsSection(model: model, edits: edits) }
            }
            .task { await model.run() }
        }
    }

    /// Pairing, once: the user looks at whose link it is before it is used.
    struct PairingSection: View {
        let model: VoxelModel

        var body: some View {
            Section("Pairing") {
                NameField("Pairing link") { model.inspect($0) }
                if let offer = model.offer {
                    Text(Texts.offer(offer.info))
                    // A link with another key is forged, or that computer has lost its keys: nobody is contacted.
                    if case .otherKey = offer.info.host {} else { Button("Pair") { Task { await model.pair() } } }
                }
                ForEach(model.hosts?.pairings.compactMap(\.code) ?? [], id: \.self) { Text(Texts.code($0)) }
            }
        }
    }

    struct ProjectsSection: View {
        let model: VoxelModel
        let projects: TableStore<Project>

        var body: some View {
            Section("Projects") {
                Around(state: Texts.state(projects.state, projects.error, isEmpty: projects.rows.isEmpty, none: Texts.noProjects))
                ForEach(projects.rows) { row in
                    HStack {
                        Button(row.key) { model.choose(row.key) }
                        Mark(row: row) { model.dismiss($0) }
                    }
                }
                NameField("New project") { model.create($0) }
            }
        }
    }

    struct LayersSection: View {
        let model: VoxelModel
        let project: String
        let layers: TableStore<Layer>

        var body: some View {
            Section(project) {
                LayerRows(layers: layers, dismiss: model.dismiss, remove: model.remove)
                if layers.more != .none { Button("More") { model.loadMoreLayers() } }
                NameField("New layer") { model.add($0) }
            }
        }
    }

    /// The rows of a table alone: also of artificial ones, in the preview.
    struct LayerRows: View {
        let layers: TableStore<Layer>
        let dismiss: (RowFailure) -> Void
        let remove: (String) -> Void

        var body: some View {
            Around(state: Texts.state(layers.state, layers.error, isEmpty: layers.rows.isEmpty, none: Texts.noLayers))
            ForEach(layers.rows) { row in
                HStack {
                    Text(row.value.map(Texts.layer) ?? Texts.unshown(isUnreadable: row.isUnreadable))
                    Mark(row: row, dismiss: dismiss)
                }
                .swipeActions {
                    if let layer = row.value { Button("Remove", role: .destructive) { remove(layer.name) } }
                }
            }
        }
    }

    #Preview("Layers") {
        if let data = try? previewData() {
            List { LayerRows(layers: TableStore(data.table(layersTable)), dismiss: { _ in }, remove: { _ in }) }
        }
    }

    struct EditsSection: View {
        let model: VoxelModel
        let edits: LogStore<Edit>

        var body: some View {
            Section("Edits") {
                Around(state: Texts.state(edits.state, edits.error, isEmpty: edits.items.isEmpty, none: Texts.noEdits))
                if edits.older != .none { Button("Older") { model.loadOlderEdits() } }
                ForEach(edits.items) { Text($0.value.map(Texts.edit) ?? Texts.unshown(isUnreadable: $0.isUnreadable)) }
            }
        }
    }

    /// What stands beside the rows of a list, or in their place.
    struct Around: View {
        let state: String?

        var body: some View {
            if let state { Text(state).foregroundStyle(.secondary) }
        }
    }

    /// Whether a row's value is on its way, or why the last change of it failed, until the user has seen that.
    struct Mark<Value: Sendable>: View {
        let row: LiveRow<Value>
        let dismiss: (RowFailure) -> Void

        var body: some View {
            if let mark = Texts.mark(row) { Text(mark).font(.caption) }
            if let failure = row.failure { Button("Dismiss") { dismiss(failure) } }
        }
    }

    /// A field for a name.
    struct NameField: View {
        private let label: LocalizedStringKey
        private let done: (String) -> Void
        @State private var name = ""

        init(_ label: LocalizedStringKey, done: @escaping (String) -> Void) {
            (self.label, self.done) = (label, done)
        }

        var body: some View {
            TextField(label, text: $name).onSubmit {
                if !name.isEmpty { done(name) }
                name = ""
            }
        }
    }
#endif
