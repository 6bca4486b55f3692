//! What the service takes, keeps and tells. The types of the apps are generated from these
//! (`cargo xtask types`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A row of `voxel.projects`, by its name.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Project {
    /// Its name, which is its key too.
    pub(crate) name: String,
    /// How many layers it has.
    pub(crate) layers: u32,
}

/// Result of `voxel.list_projects`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Projects {
    /// In the order of their names.
    pub(crate) projects: Vec<Project>,
}

/// Parameters of `voxel.list_projects`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Named {
    /// The name of the last project of the page before; absent for the first page.
    pub(crate) after: Option<String>,
}

/// A row of `voxel.layers`, by `project/layer`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Layer {
    /// Its name, which is the end of its key.
    pub(crate) name: String,
    /// What its voxels are drawn with.
    pub(crate) colour: Colour,
    /// How many voxels it has.
    pub(crate) voxels: u32,
}

/// A colour.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Colour {
    #[default]
    Stone,
    Grass,
    DeepWater,
}

/// An item of `voxel.edits`, by project.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Edit {
    /// A layer is new.
    Added { layer: String },
    /// A layer has another name.
    Renamed { layer: String, to: String },
    /// A layer has more voxels.
    Painted { layer: String, voxels: u32 },
    /// A layer is gone.
    Removed { layer: String },
}

/// Names a project: parameters of `voxel.create_project`, and of `voxel.layers` and `voxel.edits`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct OfProject {
    pub(crate) project: String,
}

/// Parameters of `voxel.add_layer`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct NewLayer {
    pub(crate) project: String,
    pub(crate) layer: String,
    #[serde(default)]
    pub(crate) colour: Colour,
}

/// Parameters of `voxel.remove_layer`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct LayerName {
    pub(crate) project: String,
    pub(crate) layer: String,
}

/// Parameters of `voxel.rename_layer`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Rename {
    pub(crate) project: String,
    pub(crate) layer: String,
    /// The new name.
    pub(crate) to: String,
}

/// Parameters of `voxel.paint_layer`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Paint {
    pub(crate) project: String,
    pub(crate) layer: String,
    pub(crate) colour: Colour,
    /// How many voxels are added.
    pub(crate) voxels: u32,
}
