// To parse the JSON, install kotlin's serialization plugin and do:
//
// val json      = Json { allowStructuredMapKeys = true }
// val colour    = json.parse(Colour.serializer(), jsonString)
// val edit      = json.parse(Edit.serializer(), jsonString)
// val layer     = json.parse(Layer.serializer(), jsonString)
// val layerName = json.parse(LayerName.serializer(), jsonString)
// val named     = json.parse(Named.serializer(), jsonString)
// val newLayer  = json.parse(NewLayer.serializer(), jsonString)
// val ofProject = json.parse(OfProject.serializer(), jsonString)
// val paint     = json.parse(Paint.serializer(), jsonString)
// val project   = json.parse(Project.serializer(), jsonString)
// val projects  = json.parse(Projects.serializer(), jsonString)
// val rename    = json.parse(Rename.serializer(), jsonString)

package dev.bowline.voxel

import kotlinx.serialization.*
import kotlinx.serialization.json.*
import kotlinx.serialization.descriptors.*
import kotlinx.serialization.encoding.*

/**
 * An item of `voxel.edits`, by project.
 *
 * A layer is new.
 *
 * A layer has another name.
 *
 * A layer has more voxels.
 *
 * A layer is gone.
 */
@Serializable
data class Edit (
    val kind: Kind,
    val layer: String,
    val to: String? = null,
    val voxels: Long? = null
)

@Serializable
enum class Kind(val value: String) {
    @SerialName("added") Added("added"),
    @SerialName("painted") Painted("painted"),
    @SerialName("removed") Removed("removed"),
    @SerialName("renamed") Renamed("renamed");
}

/**
 * A row of `voxel.layers`, by `project/layer`.
 */
@Serializable
data class Layer (
    /**
     * What its voxels are drawn with.
     */
    val colour: Colour,

    /**
     * Its name, which is the end of its key.
     */
    val name: String,

    /**
     * How many voxels it has.
     */
    val voxels: Long
)

/**
 * A colour.
 *
 * What its voxels are drawn with.
 */
@Serializable
enum class Colour(val value: String) {
    @SerialName("deep_water") DeepWater("deep_water"),
    @SerialName("grass") Grass("grass"),
    @SerialName("stone") Stone("stone");
}

/**
 * Parameters of `voxel.remove_layer`.
 */
@Serializable
data class LayerName (
    val layer: String,
    val project: String
)

/**
 * Parameters of `voxel.list_projects`.
 */
@Serializable
data class Named (
    /**
     * The name of the last project of the page before; absent for the first page.
     */
    val after: String? = null
)

/**
 * Parameters of `voxel.add_layer`.
 */
@Serializable
data class NewLayer (
    val colour: Colour? = null,
    val layer: String,
    val project: String
)

/**
 * Names a project: parameters of `voxel.create_project`, and of `voxel.layers` and
 * `voxel.edits`.
 */
@Serializable
data class OfProject (
    val project: String
)

/**
 * Parameters of `voxel.paint_layer`.
 */
@Serializable
data class Paint (
    val colour: Colour,
    val layer: String,
    val project: String,

    /**
     * How many voxels are added.
     */
    val voxels: Long
)

/**
 * Result of `voxel.list_projects`.
 */
@Serializable
data class Projects (
    /**
     * In the order of their names.
     */
    val projects: List<Project>
)

/**
 * A row of `voxel.projects`, by its name.
 */
@Serializable
data class Project (
    /**
     * How many layers it has.
     */
    val layers: Long,

    /**
     * Its name, which is its key too.
     */
    val name: String
)

/**
 * Parameters of `voxel.rename_layer`.
 */
@Serializable
data class Rename (
    val layer: String,
    val project: String,

    /**
     * The new name.
     */
    val to: String
)
