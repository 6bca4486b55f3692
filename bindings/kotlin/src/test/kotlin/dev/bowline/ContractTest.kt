package dev.bowline

import java.time.Instant
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicReference
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.toList
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
    fun `every list makes of changes what the other languages make of them`() {
        check(listCases("growing"), Timeline.empty, { with(timelineUpdate(it)) }) { it.items.map(TimelineItem::text) }
        for (grow in listOf(String::plus, null)) {
            val reader = ItemReader({ text(it) }, grow)
            check(listCases("growing"), Log.empty as Log<String>, { with(logUpdate(it), reader) }) { it.items.map(LogItem<String>::value) }
        }
        check(listCases("fixed"), Directory.empty, { with(directoryUpdate(it)) }) { it.rows.map(DirectoryRow::key) }
        check(listCases("fixed"), Table.empty as Table<String>, { step -> with(tableUpdate(step)) { it } }) { it.rows.map { row -> row.value } }
    }

    @Test
    fun `BX-6 what a change does not concern is the same object`() {
        val steps = listCases("fixed").first().steps
        val first = Directory.empty.with(directoryUpdate(steps[0]))
        val second = first.with(directoryUpdate(steps[1]))
        assertSame(first.rows[2], second.rows[2])
        assertSame(second.rows, second.with(directoryUpdate(steps[2])).rows)
    }

    private fun <L> check(cases: List<ListCase>, empty: L, fold: L.(Step) -> L, shown: (L) -> List<String?>) {
        assertTrue(cases.size > 6)
        for (case in cases) {
            case.steps.fold(empty) { held, step ->
                val told = "${case.name}, revision ${step.rev}"
                if (step.shows == null) {
                    assertThrows(OutOfStep::class.java, { held.fold(step) }, told)
                    held
                } else {
                    held.fold(step).also { assertEquals(step.shows, shown(it), told) }
                }
            }
        }
    }

    private fun timelineUpdate(step: Step) = TimelineUpdate(
        step.base, step.rev, step.changes, step.rows.map(::item), null, null, true, false, Older.None, Newer.None, 0u, null,
    )

    private fun item(text: String) = TimelineItem("itm_$text", 0u, ItemKind.MESSAGE, Instant.EPOCH, text, 0u, null, null, null, null)

    private fun directoryUpdate(step: Step) =
        DirectoryUpdate(step.base, step.rev, step.changes, step.rows.map { DirectoryRow(it, "srv", null, null) }, false, emptyList())

    private fun tableUpdate(step: Step) = TableUpdate(
        step.base, step.rev, step.changes, step.rows.map { TableRow(it, it, null, false, false, null) }, TableState.READY, null, MoreRows.None, false,
    )

    private fun logUpdate(step: Step): LogUpdate {
        val rows = step.rows.mapIndexed { at, text -> JsonItem(at.toUInt(), """{"text":"$text"}""", "text", null, false, "$at", false, null) }
        return LogUpdate(step.base, step.rev, step.changes, rows, TableState.READY, null, MoreRows.None, false, 0u, 0u)
    }

    private fun text(json: String) = json.removeSurrounding("{\"text\":\"", "\"}")

    @Test
    fun `what may pass is subscribed to again, and the end says why nothing comes`() = runBlocking {
        val (busy, gone) = listOf(EndReason.BUSY, EndReason.HOST_GONE).map(::SubscriptionEnded)
        val failures = MutableStateFlow<Throwable?>(null)
        var runs = 0
        val told = flow {
            runs++
            emit(failures.value)
            throw if (runs < 3) busy else gone
        }.retried(failures).toList()
        assertEquals(listOf(null, busy, busy), told)
        assertSame(gone, failures.value)
        val again = EndReason.entries.filter { SubscriptionEnded(it).advice == Advice.TRY_AGAIN }
        assertEquals(listOf(EndReason.TOO_MANY, EndReason.BUSY), again)
        assertTrue(gone.message!!.contains("forgotten"))
    }

    @Test
    fun `an error says what to do, whatever its kind`() {
        val refused: BowlineException = BowlineException.PairingRefused("used", Advice.PAIR_AGAIN, Reason.PAIRING_TOKEN_INVALID)
        assertEquals(Advice.PAIR_AGAIN, refused.advice)
        assertEquals("used", refused.detail)
        assertEquals(Reason.PAIRING_TOKEN_INVALID, refused.reason)
        assertEquals(emptyList<Advice>(), Advice.entries.filter { it.text.isEmpty() != (it == Advice.NOTHING) })
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
