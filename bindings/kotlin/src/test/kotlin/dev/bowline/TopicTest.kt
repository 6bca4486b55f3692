package dev.bowline

import dev.bowline.ffi.Intent
import dev.bowline.ffi.LoadFailure
import dev.bowline.ffi.Path
import dev.bowline.ffi.TopicState
import dev.bowline.ffi.TopicUpdate
import java.util.concurrent.CopyOnWriteArrayList
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test
import dev.bowline.ffi.TopicEvent as Crossed

/** Events of a service's topic (LD-10): the queue by itself, and a real daemon that has one: `daemon/examples/voxel.rs`. */
class TopicTest {
    private fun batch(missed: Boolean, vararg bodies: Int): TopicBatch<Int> =
        TopicUpdate(missed, bodies.map { Crossed("k", it.toString(), null) }, TopicState.FOLLOWING, null)
            .decoded(String::toInt)

    private fun TopicBatch<Int>.text(): String = (if (missed) "*" else "") + events.joinToString(" ") { it.body.toString() }

    @Test
    fun `LD-10 batches wait in order, and what is dropped at the bound is said`() {
        val waiting = Waiting<Int>()
        waiting.add(batch(false, 1), 1)
        waiting.add(batch(true, 2, 3), 2)
        assertEquals(listOf("1", "*2 3"), List(2) { waiting.take()!!.text() })
        assertNull(waiting.take())
        for (n in 0 until 5_000) waiting.add(batch(false, n), 4)
        val rest = generateSequence(waiting::take).map { it.text() }.toList()
        assertEquals(MOST_WAITING, rest.size)
        assertEquals(listOf("*904", "905"), rest.take(2))
        // Those without an event as well.
        repeat(5_000) { waiting.add(batch(false), 0) }
        assertEquals(MOST_WAITING, generateSequence(waiting::take).count())
        for (n in 0 until 3) waiting.add(batch(false, n), MOST_WAITING_CHARS - 1)
        assertEquals(listOf("*2"), generateSequence(waiting::take).map { it.text() }.toList())
    }

    private suspend fun Bowline.run(server: String, method: String, params: String): String? {
        val intent = send(server, Intent.Custom(method, params))
        hosts.until { snapshot -> snapshot.hosts.any { host -> host.recentIntents.any { it.intentId == intent } } }
        return intentResult(server, intent)
    }

    @Test
    fun `LD-10 every event comes once and in order over a cut, and a refusal says why`() = runBlocking {
        World("voxel").use { world ->
            Folder().use { folder ->
                Bowline(config(folder.path), platform = PlatformObserver.none).use { bowline ->
                    val server = bowline.pair(world.offer(0)).serverId
                    bowline.online(Path.DIRECT)
                    val made = bowline.run(server, "voxel.create_project", """{"name":"castle","size":[8,8,8]}""")!!
                    val project = Regex("\"project\":\"([^\"]+)\"").find(made)!!.groupValues[1]
                    val params = """{"project":"$project"}"""

                    val state = MutableStateFlow(TopicState.OPENING)
                    val count = MutableStateFlow(0)
                    val told = CopyOnWriteArrayList<TopicEvent<String>?>()
                    val collecting = launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) {
                        bowline.topic(server, "voxel.edited", params) { it }.collect { batch ->
                            if (batch.missed) told.add(null)
                            told.addAll(batch.events)
                            count.value = told.size
                            state.value = batch.state
                        }
                    }
                    state.until { it == TopicState.FOLLOWING }
                    bowline.run(server, "voxel.add_layer", """{"project":"$project","layer":"walls"}""")
                    count.until { it == 1 }

                    world.cut(0)
                    state.until { it == TopicState.INTERRUPTED }
                    bowline.send(server, Intent.Custom("voxel.add_layer", """{"project":"$project","layer":"roof"}"""))
                    bowline.send(server, Intent.Custom("voxel.remove_layer", """{"project":"$project","layer":"walls"}"""))
                    world.heal(0)
                    count.until { it == 3 }
                    state.until { it == TopicState.FOLLOWING }
                    val expected = listOf("""{"added":"walls"}""", """{"added":"roof"}""", """{"removed":"walls"}""")
                    assertEquals(expected, told.map { it?.body })
                    assertEquals(listOf(project), told.map { it?.key }.distinct())
                    collecting.cancel()

                    val nothing = bowline.topic(server, "voxel.nothing") { it }
                    val refused = withTimeout(60_000) { nothing.first { it.state == TopicState.REFUSED } }
                    assertEquals(LoadFailure.NotFound, refused.error)
                }
            }
        }
    }
}
