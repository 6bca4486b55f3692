package dev.bowline.voxel

import dev.bowline.PreviewData
import dev.bowline.PreviewRow
import dev.bowline.hosts
import dev.bowline.log
import dev.bowline.table
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.combine

/** Artificial layers and edits: one layer on its way, and one refused. */
fun previewData(): PreviewData = PreviewData(hosts = 1u, items = 0u).apply {
    showTable(PROJECTS, listOf(PreviewRow("castle", json.encodeToString(Project(layers = 3, name = "castle")))))
    val layers = listOf(
        PreviewRow("castle/roof", json.encodeToString(Layer(Colour.Stone, "roof", 0)), pending = true),
        PreviewRow("castle/walls", json.encodeToString(Layer(Colour.Grass, "walls", 320))),
        PreviewRow("castle/well", json.encodeToString(Layer(Colour.DeepWater, "well", 8)), refused = "there is no room for more"),
    )
    showTable(LAYERS, layers)
    showLog(EDITS, listOf(json.encodeToString(Edit(Kind.Added, "walls"))))
}

/** The screen of a preview: in Compose, a `@Preview` function collects this and shows the app's own view of it. */
fun preview(data: PreviewData): Flow<VoxelScreen> = combine(
    data.hosts(),
    data.table(PROJECTS) { json.decodeFromString<Project>(it) },
    data.table(LAYERS) { json.decodeFromString<Layer>(it) },
    data.log(EDITS) { json.decodeFromString<Edit>(it) },
) { hosts, projects, layers, edits ->
    VoxelScreen(
        host = hosts.hosts.firstOrNull(),
        chosen = "castle",
        projects = Live(projects),
        layers = Live(layers),
        edits = Live(edits),
    )
}
