// This file was generated from JSON Schema using quicktype, do not modify it directly.
// To parse the JSON, add this file to your project and do:
//
//   let colour = try? JSONDecoder().decode(Colour.self, from: jsonData)
//   let edit = try? JSONDecoder().decode(Edit.self, from: jsonData)
//   let layer = try? JSONDecoder().decode(Layer.self, from: jsonData)
//   let layerName = try? JSONDecoder().decode(LayerName.self, from: jsonData)
//   let named = try? JSONDecoder().decode(Named.self, from: jsonData)
//   let newLayer = try? JSONDecoder().decode(NewLayer.self, from: jsonData)
//   let ofProject = try? JSONDecoder().decode(OfProject.self, from: jsonData)
//   let paint = try? JSONDecoder().decode(Paint.self, from: jsonData)
//   let project = try? JSONDecoder().decode(Project.self, from: jsonData)
//   let projects = try? JSONDecoder().decode(Projects.self, from: jsonData)
//   let rename = try? JSONDecoder().decode(Rename.self, from: jsonData)

import Foundation

/// An item of `voxel.edits`, by project.
///
/// A layer is new.
///
/// A layer has another name.
///
/// A layer has more voxels.
///
/// A layer is gone.
// MARK: - Edit
struct Edit: Codable, Sendable {
    let kind: Kind
    let layer: String
    let to: String?
    let voxels: Int?

    enum CodingKeys: String, CodingKey {
        case kind = "kind"
        case layer = "layer"
        case to = "to"
        case voxels = "voxels"
    }
}

enum Kind: String, Codable, Sendable {
    case added = "added"
    case painted = "painted"
    case removed = "removed"
    case renamed = "renamed"
}

/// A row of `voxel.layers`, by `project/layer`.
// MARK: - Layer
struct Layer: Codable, Sendable {
    /// What its voxels are drawn with.
    let colour: Colour
    /// Its name, which is the end of its key.
    let name: String
    /// How many voxels it has.
    let voxels: Int

    enum CodingKeys: String, CodingKey {
        case colour = "colour"
        case name = "name"
        case voxels = "voxels"
    }
}

/// A colour.
///
/// What its voxels are drawn with.
enum Colour: String, Codable, Sendable {
    case deepWater = "deep_water"
    case grass = "grass"
    case stone = "stone"
}

/// Parameters of `voxel.remove_layer`.
// MARK: - LayerName
struct LayerName: Codable, Sendable {
    let layer: String
    let project: String

    enum CodingKeys: String, CodingKey {
        case layer = "layer"
        case project = "project"
    }
}

/// Parameters of `voxel.list_projects`.
// MARK: - Named
struct Named: Codable, Sendable {
    /// The name of the last project of the page before; absent for the first page.
    let after: String?

    enum CodingKeys: String, CodingKey {
        case after = "after"
    }
}

/// Parameters of `voxel.add_layer`.
// MARK: - NewLayer
struct NewLayer: Codable, Sendable {
    let colour: Colour?
    let layer: String
    let project: String

    enum CodingKeys: String, CodingKey {
        case colour = "colour"
        case layer = "layer"
        case project = "project"
    }
}

/// Names a project: parameters of `voxel.create_project`, and of `voxel.layers` and
/// `voxel.edits`.
// MARK: - OfProject
struct OfProject: Codable, Sendable {
    let project: String

    enum CodingKeys: String, CodingKey {
        case project = "project"
    }
}

/// Parameters of `voxel.paint_layer`.
// MARK: - Paint
struct Paint: Codable, Sendable {
    let colour: Colour
    let layer: String
    let project: String
    /// How many voxels are added.
    let voxels: Int

    enum CodingKeys: String, CodingKey {
        case colour = "colour"
        case layer = "layer"
        case project = "project"
        case voxels = "voxels"
    }
}

/// Result of `voxel.list_projects`.
// MARK: - Projects
struct Projects: Codable, Sendable {
    /// In the order of their names.
    let projects: [Project]

    enum CodingKeys: String, CodingKey {
        case projects = "projects"
    }
}

/// A row of `voxel.projects`, by its name.
// MARK: - Project
struct Project: Codable, Sendable {
    /// How many layers it has.
    let layers: Int
    /// Its name, which is its key too.
    let name: String

    enum CodingKeys: String, CodingKey {
        case layers = "layers"
        case name = "name"
    }
}

/// Parameters of `voxel.rename_layer`.
// MARK: - Rename
struct Rename: Codable, Sendable {
    let layer: String
    let project: String
    /// The new name.
    let to: String

    enum CodingKeys: String, CodingKey {
        case layer = "layer"
        case project = "project"
        case to = "to"
    }
}
