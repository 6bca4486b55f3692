package dev.bowline.voxel

import dev.bowline.Intent
import dev.bowline.Patch
import dev.bowline.Show
import kotlinx.serialization.json.Json

/** Reads what the service sends and writes what it takes. A member that a newer service adds is no error. */
val json: Json = Json { ignoreUnknownKeys = true }

/** The service's tables and its log. Those of a project are followed, and changed, with the same parameters. */
const val PROJECTS = "voxel.projects"
const val LAYERS = "voxel.layers"
const val EDITS = "voxel.edits"

/** The parameters that name a project. */
fun of(project: String): String = json.encodeToString(OfProject(project))

/** What the app asks of the service, and what the rows show until the daemon has done it (LD-3): `send(intent, shows)`. */
class Change(val intent: Intent, val shows: List<Patch>)

fun createProject(project: String): Change {
    val row = json.encodeToString(Project(layers = 0, name = project))
    return Change(custom("voxel.create_project", of(project)), listOf(Show.upsert(PROJECTS, project, row)))
}

fun addLayer(project: String, layer: String): Change {
    val row = Layer(Colour.Stone, layer, voxels = 0)
    val new = json.encodeToString(NewLayer(row.colour, layer, project))
    return Change(custom("voxel.add_layer", new), listOf(put(project, row)))
}

/** The name is a part of the key: the row goes, and another one comes. */
fun renameLayer(project: String, layer: Layer, to: String): Change {
    val rename = json.encodeToString(Rename(layer.name, project, to))
    return Change(custom("voxel.rename_layer", rename), listOf(gone(project, layer.name), put(project, layer.copy(name = to))))
}

/** Only the painted members are expected to change: what others change meanwhile stays. */
fun paintLayer(project: String, layer: Layer, colour: Colour): Change {
    val paint = json.encodeToString(Paint(colour, layer.name, project, voxels = 0))
    val members = """{"colour":${json.encodeToString(colour)}}"""
    return Change(custom("voxel.paint_layer", paint), listOf(Show.merge(LAYERS, key(project, layer.name), members, of(project))))
}

fun removeLayer(project: String, layer: String): Change {
    val name = json.encodeToString(LayerName(layer, project))
    return Change(custom("voxel.remove_layer", name), listOf(gone(project, layer)))
}

private fun custom(method: String, params: String) = Intent.Custom(method, params)

private fun put(project: String, layer: Layer) =
    Show.upsert(LAYERS, key(project, layer.name), json.encodeToString(layer), of(project))

private fun gone(project: String, layer: String) = Show.remove(LAYERS, key(project, layer), of(project))

/** The key of a layer's row, as the service makes it. */
private fun key(project: String, layer: String) = "$project/$layer"
