package dev.bowline

import dev.bowline.voxel.drawn
import dev.bowline.voxel.preview
import dev.bowline.voxel.previewData
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The app of `examples/voxel/kotlin`, as a process of its own, with the real daemon of `examples/voxel` (LD-2, LD-3). */
class VoxelTest {
    /** The app in a folder; closing it ends it as a user does. */
    private class App(folder: Folder) : AutoCloseable {
        private val process = Child.start("dev.bowline.voxel.ConsoleKt", System.getProperty("jna.library.path"), folder.path)
        private val screen = MutableStateFlow(emptyList<String>())

        init {
            thread(isDaemon = true) {
                var lines = emptyList<String>()
                process.inputStream.bufferedReader().forEachLine { line ->
                    if (line == "---") {
                        screen.value = lines
                        lines = emptyList()
                    } else {
                        lines = lines + line
                    }
                }
            }
        }

        fun does(command: String) = process.outputWriter().run {
            write(command + "\n")
            flush()
        }

        /** Waits until the screen has these lines. */
        fun shows(vararg lines: String): List<String> = runBlocking { screen.until { shown -> shown.containsAll(lines.toList()) } }

        /** Waits until no line of the screen has the text. */
        fun lacks(text: String): List<String> = runBlocking { screen.until { shown -> shown.none { text in it } } }

        fun shows(line: (String) -> Boolean): List<String> = runBlocking { screen.until { shown -> shown.any(line) } }

        /** As the system ends an app in the background. */
        fun kill() {
            process.destroyForcibly().waitFor()
        }

        override fun close() {
            process.outputWriter().close()
            assertTrue(process.waitFor(30, TimeUnit.SECONDS), "the app does not end")
            assertTrue(process.exitValue() in listOf(0, 137), "the app ended with ${process.exitValue()}")
        }
    }

    /** The app, paired, with a project and its layer `walls`, all of it done by the daemon. */
    private fun World.castle(folder: Folder): App = App(folder).apply {
        does("link ${offer(0)}")
        shows { it.startsWith("Pair with ") }
        does("pair")
        shows { "connected over" in it }
        shows("Projects:", "  No projects yet.")
        does("create castle")
        does("choose castle")
        shows("  castle", "  No layers yet.", "  No edits yet.")
        does("add walls")
        shows("  walls: stone, 0 voxels", "  walls was added")
        lacks("pending")
    }

    @Test
    fun `LD-2, LD-3 what is changed during a cut is shown at once, survives the app, and is done once the computer is back`(): Unit =
        World("voxel-daemon").use { world ->
            Folder().use { folder ->
                val first = world.castle(folder)
                world.cut(0)
                first.shows { ": connecting" in it }
                first.does("add roof")
                first.does("paint walls")
                val away = first.shows("  roof: stone, 0 voxels (pending)", "  walls: grass, 0 voxels (pending)")
                assertTrue(away.count { "May be outdated" in it } == 3, "$away")
                assertTrue("  roof was added" !in away, "$away")
                first.kill()

                App(folder).use { again ->
                    again.shows { ": connecting" in it }
                    again.does("choose castle")
                    world.heal(0)
                    again.shows { "connected over" in it }
                    val done = again.shows("  walls: grass, 0 voxels", "  roof: stone, 0 voxels", "  roof was added")
                    again.lacks("pending")
                    assertTrue(done.none { "May be outdated" in it }, "$done")
                    assertFalse(done.any { "refused" in it }, "$done")
                }
            }
        }

    @Test
    fun `LD-3 a layer is renamed and removed, and a change that the daemon refuses says why until it is dismissed`(): Unit =
        World("voxel-daemon").use { world ->
            Folder().use { folder ->
                world.castle(folder).use { app ->
                    app.does("rename walls keep")
                    app.shows("  keep: stone, 0 voxels", "  walls is now keep")
                    app.lacks("walls:")
                    app.does("add keep")
                    app.shows("  keep: stone, 0 voxels (refused: there is such a layer already)")
                    app.does("dismiss")
                    app.shows("  keep: stone, 0 voxels")
                    app.does("remove keep")
                    app.shows("  No layers yet.", "  keep was removed")
                    Unit
                }
            }
        }

    @Test
    fun `the app's preview shows artificial rows, one pending and one refused, with no network`(): Unit = runBlocking {
        previewData().use { data ->
            val screen = preview(data).until { it.edits.value.items.size == 1 }
            val shown = drawn(screen)
            val expected = listOf(
                "  roof: stone, 0 voxels (pending)",
                "  walls: grass, 320 voxels",
                "  well: deep_water, 8 voxels (refused: there is no room for more)",
                "  walls was added",
            )
            assertTrue(shown.containsAll(expected), "$shown")
        }
    }

    @Test
    fun `a preview's lists and screen change as real ones do, and what is no JSON is refused`(): Unit = runBlocking {
        PreviewData(0u, 2u).use { data ->
            val table = data.table("t") { it.toInt() }
            assertTrue(table.until { true }.state == TableState.LOADING)
            data.showTable("t", listOf(PreviewRow("b", "2"), PreviewRow("a", "1")))
            assertTrue(table.until { it.state == TableState.READY }.rows.map { it.value } == listOf(1, 2))
            data.changeRow("t", PreviewRow("b", "3"))
            assertTrue(table.until { it.rows.last().value == 3 }.rows.map { it.key } == listOf("a", "b"))
            data.showTable("t", emptyList())
            assertTrue(table.until { it.rows.isEmpty() }.state == TableState.EMPTY)
            data.showLog("l", listOf("7"), TableState.STALE)
            val log = data.log("l") { it.toInt() }.until { it.state == TableState.STALE }
            assertTrue(log.items.map { it.index to it.value } == listOf(0u to 7) && log.next == 1u, "$log")
            assertThrows(BowlineException.InvalidQuery::class.java) { data.showLog("l", listOf("no JSON")) }

            assertTrue(data.screen().until { it?.timeline?.items?.size == 2 }!!.composerEnabled)
            data.showScreen(PreviewScreen.LOADING)
            data.screen().until { it!!.overlay }
            data.showScreen(PreviewScreen.RECONNECTING)
            data.screen().until { it!!.toast == Toast.RECONNECTING && !it.overlay }
            data.showScreen(PreviewScreen.ARCHIVED)
            assertTrue(data.screen().until { it!!.readOnly == ReadOnly.ARCHIVED }!!.errorIndicator == null)
        }
    }

    @Test
    fun `a link that is none says so, and nothing is sent`(): Unit = Folder().use { folder ->
        App(folder).use { app ->
            app.does("link nothing")
            app.shows { it.startsWith("Not sent:") }
            Unit
        }
    }
}
