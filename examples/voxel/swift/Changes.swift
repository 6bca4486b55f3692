import BowlineKit

// The service's tables and its log. Those of a project are followed, and changed, with the same parameters.
let projectsTable = "voxel.projects"
let layersTable = "voxel.layers"
let editsLog = "voxel.edits"

/// What the app asks of the service, and what the rows show until the daemon has done it (LD-3): `send(intent, to:, shows:)`.
struct Change {
    let intent: Intent
    let shows: [Patch]

    static func create(_ project: String) throws -> Change {
        let row = Project(layers: 0, name: project)
        return Change(
            intent: try .custom("voxel.create_project", OfProject(project: project)),
            shows: [.upsert(projectsTable, key: project, row)])
    }

    static func add(_ layer: String, to project: String) throws -> Change {
        let row = Layer(colour: .stone, name: layer, voxels: 0)
        let new = NewLayer(colour: row.colour, layer: layer, project: project)
        return Change(intent: try .custom("voxel.add_layer", new), shows: [put(row, project)])
    }

    /// The name is a part of the key: the row goes, and another one comes.
    static func rename(_ layer: Layer, to name: String, in project: String) throws -> Change {
        let renamed = Layer(colour: layer.colour, name: name, voxels: layer.voxels)
        let rename = Rename(layer: layer.name, project: project, to: name)
        return Change(
            intent: try .custom("voxel.rename_layer", rename),
            shows: [gone(layer.name, project), put(renamed, project)])
    }

    /// Only the painted member is expected to change: what others change meanwhile stays.
    static func paint(_ layer: Layer, _ colour: Colour, in project: String) throws -> Change {
        let paint = Paint(colour: colour, layer: layer.name, project: project, voxels: 0)
        let merge = Patch.merge(
            layersTable, OfProject(project: project), key: key(layer.name, project), ["colour": colour])
        return Change(intent: try .custom("voxel.paint_layer", paint), shows: [merge])
    }

    static func remove(_ layer: String, from project: String) throws -> Change {
        let name = LayerName(layer: layer, project: project)
        return Change(intent: try .custom("voxel.remove_layer", name), shows: [gone(layer, project)])
    }

    private static func put(_ layer: Layer, _ project: String) -> Patch {
        .upsert(layersTable, OfProject(project: project), key: key(layer.name, project), layer)
    }

    private static func gone(_ layer: String, _ project: String) -> Patch {
        .remove(layersTable, OfProject(project: project), key: key(layer, project))
    }

    /// The key of a layer's row, as the service makes it.
    private static func key(_ layer: String, _ project: String) -> String { "\(project)/\(layer)" }
}
