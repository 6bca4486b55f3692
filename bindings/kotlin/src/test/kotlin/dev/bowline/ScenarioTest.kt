package dev.bowline

import java.util.concurrent.CopyOnWriteArrayList
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The whole line, against the real daemon and relay. */
class ScenarioTest {
    private fun open(folder: Folder) = Bowline(config(folder.path), platform = PlatformObserver.none)

    /** Collects a flow into a list, for as long as the job runs. */
    private fun <T> kotlinx.coroutines.CoroutineScope.recorded(flow: Flow<T>, into: MutableList<T>): Job =
        launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { flow.collect { into.add(it) } }

    private fun output(screen: AgentScreen): String =
        screen.timeline.items.filter { it.kind == ItemKind.OUTPUT }.joinToString("") { it.text }

    private fun ended(screen: AgentScreen?): Boolean =
        screen?.timeline?.items?.lastOrNull()?.kind == ItemKind.TURN_END

    @Test
    fun `BX-5, INV-2 pair, attach, run, cut, resume on the relay, restart - same session, same timeline`() = runBlocking {
        World().use { world ->
            Folder().use { folder ->
                val lines = (1..150).joinToString("") { "line $it\n" }
                val agentId: String
                val before: AgentScreen
                val server: String
                open(folder).let { bowline ->
                    server = bowline.pair(world.offer(0, 2)).serverId
                    assertEquals(server, bowline.online(Path.DIRECT))
                    val generation = bowline.hosts.value.hosts.single().generation
                    assertTrue("stream" in bowline.providers(server).map { it.name })
                    assertTrue(server in bowline.query(server, "system.info"))
                    assertThrows(BowlineException.Rejected::class.java) {
                        runBlocking { bowline.query(server, "agents.list", """{"limit":"all"}""") }
                    }
                    assertThrows(BowlineException.InvalidQuery::class.java) {
                        runBlocking { bowline.query(server, "system.info", "{") }
                    }

                    // UX-3: shown at once, without an overlay, and the same screen goes on.
                    val intent = bowline.send(server, Intent.CreateAgent("stream", folder.path, "Lines", "150"))
                    val screen = bowline.screen(server, ScreenTarget.Creation(intent))
                    val shown = CopyOnWriteArrayList<AgentScreen?>()
                    val recording = recorded(screen.state, shown)
                    agentId = screen.state.until { it?.agentId != null }!!.agentId!!
                    screen.state.until { it != null && output(it).lines().size > 20 }

                    world.cut(0)
                    bowline.online(Path.RELAY)
                    before = screen.state.until(::ended)!!
                    assertTrue(bowline.hosts.value.hosts.single().generation > generation)
                    assertEquals(lines, output(before))
                    assertEquals(1, world.sessions())
                    assertTrue(shown.none { it?.overlay == true }, "an overlay over an optimistic creation")
                    assertTrue(shown.filterNotNull().map { it.rev.toLong() }.zipWithNext().all { (a, b) -> a <= b })
                    val seen = bowline.directory.until { directory -> directory.rows.any { it.agent?.id == agentId } }
                    assertEquals(1, seen.rows.size)
                    recording.cancel()
                    screen.close()

                    // UX-2: re-opened, it is there.
                    bowline.screen(server, agentId).use { again ->
                        val reopened = CopyOnWriteArrayList<AgentScreen?>()
                        val watching = recorded(again.state, reopened)
                        again.state.until { it != null && output(it) == lines }
                        assertTrue(reopened.none { it?.overlay == true }, "an overlay over what is loaded")
                        watching.cancel()
                    }
                    bowline.shutdown()
                }

                // The app is started again; only the relay is left.
                open(folder).let { bowline ->
                    assertEquals(server, bowline.online(Path.RELAY))
                    bowline.screen(server, agentId).use { screen ->
                        val after = screen.state.until { it?.timeline?.loaded == true && ended(it) }!!
                        assertEquals(before.timeline.items, after.timeline.items)
                        assertEquals(Creation.NONE, after.creation)
                        assertEquals(1, world.sessions())

                        // A prompt sent while nothing is there is shown, kept and done once the path is back.
                        world.cut(2)
                        bowline.hosts.until { it.hosts.single().state != HostState.ONLINE }
                        val sent = screen.send("2")
                        screen.state.until { state -> state!!.timeline.pending.any { it.intentId == sent } }
                        world.heal(0)
                        val done = screen.state.until { state ->
                            state!!.timeline.pending.isEmpty() && state.timeline.items.size > after.timeline.items.size && ended(state)
                        }!!
                        assertEquals(1, done.timeline.items.count { it.intentId == sent && it.kind == ItemKind.USER })
                        assertEquals(1, world.sessions())
                    }
                    bowline.shutdown()
                }
            }
        }
    }

    @Test
    fun `UX-3 a creation that is refused is rolled back with its error, until it is dismissed`() = runBlocking {
        World().use { world ->
            Folder().use { folder ->
                open(folder).use { bowline ->
                    val server = bowline.pair(world.offer(0)).serverId
                    bowline.online()
                    val intent = bowline.send(server, Intent.CreateAgent("no such provider", folder.path, null, "hello"))
                    bowline.screen(server, ScreenTarget.Creation(intent)).use { screen ->
                        val failed = screen.state.until { it?.creation == Creation.FAILED }!!
                        assertNotNull(failed.creationFailed)
                        assertNull(failed.agentId)
                    }
                    bowline.hosts.until { it.hosts.single().failedAgents.size == 1 }
                    bowline.dismiss(server, intent)
                    bowline.hosts.until { it.hosts.single().failedAgents.isEmpty() }
                    assertTrue(bowline.forget(server))
                    bowline.hosts.until { it.hosts.isEmpty() }
                    Unit
                }
            }
        }
    }
}
