package dev.bowline

import dev.bowline.ffi.BowlineException
import dev.bowline.ffi.DirectoryRow
import dev.bowline.ffi.DirectoryUpdate
import dev.bowline.ffi.HostsSnapshot
import dev.bowline.ffi.ListChange
import dev.bowline.ffi.PlatformEvent
import dev.bowline.ffi.PreviewData
import dev.bowline.ffi.TimelineUpdate
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicReference
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** What the hand-written part promises by itself. */
class ContractTest {
    private var target: PlatformTarget? = null

    @Test
    fun `INV-7 nothing that a view holds connects or disconnects`() {
        val lifecycle = Regex("(?i)(re|dis)?connect(ed)?|open|attach|detach|platformEvent|foreground|background")
        for (type in listOf(Bowline::class.java, AgentScreenStore::class.java)) {
            val methods = type.methods.filter { it.declaringClass == type && !it.name.contains('$') }.map { it.name }
            assertTrue(methods.isNotEmpty())
            assertEquals(emptyList<String>(), methods.filter { lifecycle.matches(it) })
        }
    }

    @Test
    fun `platform events come from the observer, and end with it`() = Folder().use { folder ->
        val target = AtomicReference<PlatformTarget>()
        val ended = AtomicReference(false)
        val observer = PlatformObserver { told -> target.set(told); AutoCloseable { ended.set(true) } }
        val bowline = Bowline(config(folder.path), platform = observer)
        target.get().tell(PlatformEvent.BACKGROUND)
        target.get().tell(PlatformEvent.FOREGROUND)
        bowline.close()
        assertTrue(ended.get())
        // A platform that is late does no harm.
        target.get().tell(PlatformEvent.NETWORK_CHANGED)
        runBlocking { target.get().pause() }
    }

    @Test
    fun `a paused app lets go of its files, and another can have them`() = Folder().use { folder ->
        val target = AtomicReference<PlatformTarget>()
        val observer = PlatformObserver { told -> target.set(told); AutoCloseable { } }
        Bowline(config(folder.path), platform = observer).use { bowline ->
            runBlocking {
                target.get().pause()
                val refused = assertThrows(BowlineException.Paused::class.java) { runBlocking { bowline.forget(SERVER) } }
                assertTrue(refused.detail.isNotEmpty())
                Bowline(config(folder.path), platform = PlatformObserver.none).close()
                target.get().resume()
                bowline.refresh()
            }
        }
    }

    @Test
    fun `a change of the machine's addresses is told`() {
        val addresses = AtomicReference(setOf("192.0.2.1"))
        val told = LinkedBlockingQueue<PlatformEvent>()
        // The observer does not hold it.
        target = RecordingTarget(told::add)
        NetworkInterfaceObserver(5) { addresses.get() }.observe(target!!).use {
            // Until the observer has looked at the first set: it tells of changes only.
            while (told.isEmpty()) {
                addresses.set(setOf("192.0.2.${System.nanoTime()}"))
                Thread.sleep(5)
            }
        }
        assertEquals(PlatformEvent.NETWORK_CHANGED, told.poll(60, TimeUnit.SECONDS))
    }

    @Test
    fun `BX-6 rows that did not change are the same objects`() = runBlocking {
        PreviewData(1u, 100u).use { preview ->
            val values = ArrayList<Timeline>()
            val called = Tick()
            var held = Timeline.empty
            preview.subscribeTimeline(
                timelineListener { update ->
                    held = held.with(update)
                    synchronized(values) { values.add(held) }
                    called.tick()
                },
            ).use {
                called.until { held.items.size == 100 }
                preview.append("one more")
                called.until { held.items.size == 101 }
                preview.grow(" and more")
                called.until { held.items.last().text == "one more and more" }
            }
            val first = values.first()
            first.items.indices.forEach { assertSame(first.items[it], held.items[it]) }
        }
    }

    @Test
    fun `BX-6 an appended item crosses alone, however long the history`() = runBlocking {
        for (history in listOf(100u, 10_000u)) {
            PreviewData(1u, history).use { preview ->
                val crossed = java.util.Collections.synchronizedList(ArrayList<TimelineUpdate>())
                val called = Tick()
                preview.subscribeTimeline(timelineListener { crossed.add(it); called.tick() }).use {
                    called.until { crossed.size == 1 }
                    preview.append("one more")
                    called.until { crossed.size == 2 }
                    preview.grow(" and more")
                    called.until { crossed.size == 3 }
                }
                assertEquals(listOf(1, 1), crossed.drop(1).map { it.changes.size })
                assertTrue(crossed.drop(1).all { it.baseRev != null })
            }
        }
    }

    @Test
    fun `a list of another revision is asked for anew`() {
        val row = { key: String -> DirectoryRow(key, "srv", null, null) }
        fun update(base: UInt?, rev: UInt, changes: List<ListChange>, vararg keys: String) =
            DirectoryUpdate(base, rev, changes, keys.map(row), false, emptyList())
        fun insert(at: UInt, count: UInt) = ListChange.Insert(at, count)
        val first = Directory.empty.with(update(null, 7u, listOf(insert(0u, 3u)), "a", "b", "c"))
        val changes = listOf(ListChange.Remove(1u, 1u), insert(0u, 1u), ListChange.Update(1u), insert(3u, 1u))
        val second = first.with(update(7u, 9u, changes, "d", "A", "e"))
        assertEquals(listOf("d", "A", "c", "e"), second.rows.map { it.key })
        assertSame(first.rows[2], second.rows[2])
        assertSame(second.rows, second.with(update(9u, 10u, emptyList())).rows)
        assertThrows(OutOfStep::class.java) { second.with(update(7u, 10u, emptyList())) }
        for (misfit in listOf(ListChange.Remove(3u, 2u), insert(5u, 1u), ListChange.Update(4u), ListChange.Grow(0u, "more"))) {
            assertThrows(OutOfStep::class.java) { second.with(update(9u, 10u, listOf(misfit), "x")) }
        }
        assertThrows(OutOfStep::class.java) { second.with(update(9u, 10u, listOf(insert(0u, 1u)))) }
        assertEquals(listOf("f"), second.with(update(null, 1u, listOf(insert(0u, 1u)), "f")).rows.map { it.key })
    }

    @Test
    fun `a revision that went round is newer`() {
        val at = { rev: UInt -> HostsSnapshot(rev, emptyList(), emptyList()) }
        assertEquals(5u, newer(at(5u), at(4u)).rev)
        assertEquals(6u, newer(at(5u), at(6u)).rev)
        assertEquals(1u, newer(at(UInt.MAX_VALUE), at(1u)).rev)
    }

    private companion object {
        /** A daemon that nobody knows. */
        const val SERVER = "srv_n2kjrqwbsjavrpwflguf4ecx4m"
    }
}
