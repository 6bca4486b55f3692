package dev.bowline

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

/** A service's table in an app, with a real daemon that has one: `daemon/examples/voxel.rs`. */
class TableTest {
    /** The names of a project's layers, from its row. */
    private fun layers(json: String): List<String> =
        Regex("\"name\":\"([^\"]+)\"").findAll(json.substringAfter("\"layers\":")).map { it.groupValues[1] }.toList()

    @Test
    fun `LD-2 a row is live, stays over a cut, and a refusal says why`() = withCastle { castle ->
        val (bowline, server, project, params) = castle
        val shown = collected(Table.empty, bowline.table(server, "voxel.projects", params, ::layers))
        val first = shown.until { it.state == TableState.READY }
        assertEquals(listOf(project to emptyList<String>()), first.rows.map { it.key to it.value })
        castle.run("add_layer", """"layer":"walls"""")
        shown.until { it.rows.single().value == listOf("walls") }

        castle.world.cut(0)
        val away = shown.until { it.state == TableState.STALE }
        assertEquals(listOf("walls"), away.rows.single().value)
        castle.send("add_layer", """"layer":"roof"""")
        castle.world.heal(0)
        shown.until { it.state == TableState.READY && it.rows.single().value == listOf("walls", "roof") }

        val refused = bowline.table(server, "voxel.nothing") { it }.until { it.state == TableState.REFUSED }
        assertEquals(LoadFailure.NotFound, refused.error)
    }

    @Test
    fun `LD-3 a change is shown at once, also while the host is away, and a refused one says why`() = withCastle { castle ->
        val (bowline, server, project, params) = castle
        val shown = collected(Table.empty, bowline.table(server, "voxel.projects", params, ::layers))
        shown.until { it.state == TableState.READY }

        castle.world.cut(0)
        shown.until { it.state == TableState.STALE }
        val add = castle.change("add_layer", """"layer":"walls"""")
        val walls = """{"layers":[{"name":"walls","voxels":0}]}"""
        val receipt = bowline.send(server, add, listOf(Show.merge("voxel.projects", project, walls, params)))
        val away = shown.until { it.rows.single().pending }
        assertEquals(listOf("walls"), away.rows.single().value)
        castle.world.heal(0)
        val there = shown.until { it.state == TableState.READY && !it.rows.single().pending }
        assertEquals(listOf("walls"), there.rows.single().value)
        assertEquals(OutcomeKind.DONE, receipt.outcome().kind)

        val nothing = Intent.Custom("voxel.add_layer", """{"project":"none","layer":"walls"}""")
        val refused = bowline.send(server, nothing, listOf(Show.remove("voxel.projects", project, params)))
        assertEquals(OutcomeKind.REFUSED, refused.outcome().kind)
        val failure = shown.until { it.rows.singleOrNull()?.failure != null }.rows.single().failure!!
        assertEquals(refused.id, failure.intentId)
        assertEquals(refused.outcome().detail, (failure.reason as IntentFailure.Refused).detail)
        bowline.dismiss(server, refused.id)
        shown.until { it.rows.singleOrNull()?.failure == null }

        // Its outcome is not among the latest ones any more, and the receipt has it all the same.
        val later = List(65) { bowline.send(server, nothing, emptyList()) }
        later.forEach { assertEquals(OutcomeKind.REFUSED, it.outcome().kind) }
        assertNull(bowline.outcome(server, receipt.id))
        assertEquals(OutcomeKind.DONE, receipt.outcome().kind)

        val many = List(65) { Show.upsert("voxel.projects", "$it", "1") }
        assertThrows(BowlineException.InvalidIntent::class.java) { bowline.send(server, add, many) }
        assertNull(bowline.outcome(server, "00000000-0000-0000-0000-000000000000"))
    }
}
