package dev.bowline

import java.util.concurrent.CopyOnWriteArrayList
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test

/** Events of a service's topic (LD-10): the queue by itself, and a real daemon that has one: `daemon/examples/voxel.rs`. */
class TopicTest {
    private fun batch(missed: Boolean, vararg bodies: Int): TopicBatch<Int> =
        TopicUpdate(missed, bodies.map { JsonEvent("k", it.toString(), null) }, TopicState.FOLLOWING, null)
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

    @Test
    fun `LD-10 every event comes once and in order over a cut, and a refusal says why`() = withCastle { castle ->
        val (bowline, server, project, params) = castle

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
        castle.run("add_layer", """"layer":"walls"""")
        count.until { it == 1 }

        castle.world.cut(0)
        state.until { it == TopicState.INTERRUPTED }
        castle.send("add_layer", """"layer":"roof"""")
        castle.send("remove_layer", """"layer":"walls"""")
        castle.world.heal(0)
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
