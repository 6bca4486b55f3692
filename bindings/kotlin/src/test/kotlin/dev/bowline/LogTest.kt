package dev.bowline

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

/** A service's log in an app, with a real daemon that has one: `daemon/examples/voxel.rs`. */
class LogTest {
    private data class Note(val by: String, val text: String)

    private fun member(json: String, name: String) = Regex("\"$name\":\"([^\"]*)\"").find(json)!!.groupValues[1]

    private fun note(json: String) = Note(member(json, "by"), member(json, "text"))

    private fun grown(note: Note, text: String) = note.copy(text = note.text + text)

    @Test
    fun `LD-2 a log is a window over its history, its last items grow, it stays over a cut, and a refusal says why`() = withCastle { castle ->
        val (bowline, server, _, params) = castle
        val old = List(119) { castle.send("add_note", """"by":"ana","text":"old"""") }
        for (intent in old) bowline.outcome(server, intent)
        castle.run("add_note", """"by":"ana","text":"A door"""")

        val notes = bowline.log(server, "voxel.notes", params, ::grown, ::note)
        val shown = collected(Log.empty, notes)
        val first = shown.until { it.state == TableState.READY }
        assertEquals((20u until 120u).toList(), first.items.map { it.index })
        assertEquals(listOf(0u, 120u), listOf(first.first, first.next))
        assertEquals(MoreRows.More, first.older)
        castle.run("extend_note", """"index":119,"text":" in the wall"""")
        val longer = shown.until { it.items.last().value?.text == "A door in the wall" }
        assertSame(first.items[98], longer.items[98])
        bowline.loadOlderItems(server, "voxel.notes", params)
        shown.until { it.items.size == 120 && it.older == MoreRows.None }
        // Without saying how a value grows.
        val decoded = bowline.log(server, "voxel.notes", params, decode = ::note)
        assertEquals(Note("ana", "A door in the wall"), decoded.until { it.state == TableState.READY }.items.last().value)

        castle.world.cut(0)
        assertEquals(120, shown.until { it.state == TableState.STALE }.items.size)
        castle.send("extend_note", """"index":119,"text":", and a bell"""")
        castle.send("add_note", """"by":"ben","text":"A roof"""")
        castle.world.heal(0)
        val expected = listOf(Note("ana", "A door in the wall, and a bell"), Note("ben", "A roof"))
        shown.until { it.state == TableState.READY && it.items.takeLast(2).map { item -> item.value } == expected }
        bowline.refreshLog(server, "voxel.notes", params)
        decoded.until { it.items.takeLast(2).map { item -> item.value } == expected }

        val refused = bowline.log(server, "voxel.nothing") { it }.until { it.state == TableState.REFUSED }
        assertEquals(LoadFailure.NotFound, refused.error)
    }

    @Test
    fun `LD-3 what an intent is expected to append is shown at once, also while the host is away, and a refused one says why`() = withCastle { castle ->
        val (bowline, server, _, params) = castle
        castle.run("add_note", """"by":"ana","text":"A door"""")
        val shown = collected(Log.empty, bowline.log(server, "voxel.notes", params, ::grown, ::note))
        shown.until { it.items.size == 1 && it.state == TableState.READY }

        castle.world.cut(0)
        shown.until { it.state == TableState.STALE }
        val note = """{"by":"ana","text":"A roof"}"""
        val add = castle.change("add_note", """"by":"ana","text":"A roof"""")
        val sent = bowline.send(server, add, listOf(Show.append("voxel.notes", note, params)))
        val away = shown.until { it.items.size == 2 }.items.last()
        assertEquals(listOf(null, "${sent.id}/0", true), listOf(away.index, away.id, away.pending))
        assertEquals(Note("ana", "A roof"), away.value)
        castle.world.heal(0)
        val there = shown.until { !it.items.last().pending }
        assertEquals(listOf(0u, 1u), there.items.map { it.index })

        val nothing = castle.change("extend_note", """"index":99,"text":"!"""")
        val refused = bowline.send(server, nothing, listOf(Show.append("voxel.notes", note, params)))
        val failed = shown.until { it.items.last().failure != null }
        assertEquals(refused.id, failed.items.last().failure?.intentId)
        bowline.dismiss(server, refused.id)
        shown.until { it.items.size == 2 }
    }

    private fun update(base: UInt?, rev: UInt, changes: List<ListChange>, rows: List<JsonItem> = emptyList()) =
        LogUpdate(base, rev, changes, rows, TableState.READY, null, MoreRows.None, false, 4u, 6u)

    @Test
    fun `LD-4 an item is decoded once, and one that grows is extended where that is known`() {
        for (grow in listOf(::grown, null)) {
            var count = 0
            val reader = ItemReader({ json -> note(json).also { count++ } }, grow)
            val rows = listOf(
                JsonItem(4u, "null", "text", 300_000u, true, "4", false, null),
                JsonItem(5u, """{"by":"ana","text":"a"}""", "text", null, false, "5", false, null),
            )
            val first = Log.empty.with(update(null, 7u, listOf(ListChange.Insert(0u, 2u)), rows), reader)
            assertEquals(1, count)
            val grows = listOf(ListChange.Grow(1u, " b"), ListChange.Grow(1u, "c"))
            val second = first.with(update(7u, 8u, grows), reader)
            assertEquals(listOf(null, Note("ana", "a bc")), second.items.map { it.value })
            assertSame(first.items[0], second.items[0])
            assertEquals(listOf(true, false), second.items.map { it.unreadable })
            assertEquals(if (grow == null) 3 else 1, count)
            val third = second.with(update(8u, 9u, listOf(ListChange.Remove(0u, 1u))), reader)
            assertEquals(listOf(5u), third.items.map { it.index })
            assertThrows(OutOfStep::class.java) { third.with(update(8u, 10u, emptyList()), reader) }
            assertThrows(OutOfStep::class.java) { third.with(update(9u, 10u, listOf(ListChange.Grow(1u, "x"))), reader) }
        }
    }
}
