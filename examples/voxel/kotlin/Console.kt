package dev.bowline.voxel

import dev.bowline.Bowline
import dev.bowline.LoadFailure
import dev.bowline.Log
import dev.bowline.MoreRows
import dev.bowline.Row
import dev.bowline.RuntimeConfig
import dev.bowline.Table
import dev.bowline.TableState
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelChildren
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext

/** The app without a window: it draws every screen as lines, ended by `---`, and takes commands. Argument: a folder of its own. */
fun main(arguments: Array<String>): Unit = runBlocking {
    val bowline = Bowline(RuntimeConfig(storageFolder = arguments[0], appName = "voxel", appVersion = "1.0"))
    val model = VoxelModel(bowline, this)
    launch { model.screen.collect { println((drawn(it) + "---").joinToString("\n")) } }
    while (true) {
        val line = withContext(Dispatchers.IO) { readlnOrNull() } ?: break
        model.obey(line.split(' '))
    }
    coroutineContext.cancelChildren()
    bowline.shutdown()
}

/** What a user does with buttons and fields. */
private fun VoxelModel.obey(words: List<String>) {
    val name = words.getOrElse(1) { "" }
    val layer = screen.value.layers.value.rows.mapNotNull { it.value }.find { it.name == name }
    when (words.first()) {
        "link" -> inspect(name)
        "pair" -> pair()
        "choose" -> choose(name)
        "create" -> create(name)
        "add" -> add(name)
        "rename" -> layer?.let { rename(it, words.last()) }
        "paint" -> layer?.let { paint(it, Colour.Grass) }
        "remove" -> remove(name)
        "dismiss" -> screen.value.layers.value.rows.find { it.failure != null }?.let(::dismiss)
        "more" -> loadMoreLayers()
        "older" -> loadOlderEdits()
    }
}

/** The screen as lines. In Compose these are composables, with the same cases. */
fun drawn(screen: VoxelScreen): List<String> = buildList {
    screen.host?.let { add(Texts.connection(it)) }
    screen.offer?.let { add(Texts.offer(it.info)) }
    screen.pairings.mapNotNull { it.code }.forEach { add(Texts.code(it)) }
    screen.problem?.let { add("Not sent: ${it.message}") }
    if (screen.host == null) return@buildList
    addAll(table("Projects", screen.projects, "No projects yet.") { it.name })
    if (screen.chosen == null) return@buildList
    addAll(table("Layers of ${screen.chosen}", screen.layers, "No layers yet.", Texts::layer))
    addAll(log("Edits", screen.edits, "No edits yet.", Texts::edit))
}

private fun <T> table(title: String, live: Live<Table<T>>, none: String, line: (T) -> String): List<String> = buildList {
    val table = live.value
    addAll(top(title, live.failure, table.state, table.error, table.rows.isEmpty(), none))
    table.rows.forEach { row -> add("  " + valueOf(row, line) + Texts.mark(row)) }
    if (table.more != MoreRows.None) add("  … more")
}

private fun <T> valueOf(row: Row<T>, line: (T) -> String): String =
    row.value?.let(line) ?: "${row.key}: ${Texts.unshown(row.unreadable)}"

private fun <T> log(title: String, live: Live<Log<T>>, none: String, line: (T) -> String): List<String> = buildList {
    val log = live.value
    addAll(top(title, live.failure, log.state, log.error, log.items.isEmpty(), none))
    if (log.older != MoreRows.None) add("  … older")
    log.items.forEach { item -> add("  " + (item.value?.let(line) ?: Texts.unshown(item.unreadable))) }
}

private fun top(
    title: String,
    failure: Throwable?,
    state: TableState,
    error: LoadFailure?,
    isEmpty: Boolean,
    none: String,
): List<String> = listOfNotNull("$title:", failure?.message, Texts.state(state, error, isEmpty, none)?.let { "  $it" })
