package dev.bowline

import java.io.File

/**
 * One update of a list.
 *
 * @property shows What the list shows then; null if the update is refused.
 */
class Step(
    val base: UInt?,
    val rev: UInt,
    val changes: List<ListChange>,
    val rows: List<String>,
    val shows: List<String>?,
)

class ListCase(val lists: String, val name: String, val steps: List<Step>)

private fun words(text: String) = text.split(' ').filter { it.isNotEmpty() }

private fun change(text: String): ListChange {
    val words = words(text)
    val at = words[1].toUInt()
    return when (words[0]) {
        "remove" -> ListChange.Remove(at, words[2].toUInt())
        "insert" -> ListChange.Insert(at, words[2].toUInt())
        "update" -> ListChange.Update(at)
        "grow" -> ListChange.Grow(at, words[2])
        else -> error("no such change: $text")
    }
}

private fun step(line: String): Step {
    val cells = line.split('|').map { it.trim() }
    check(cells.size == 5) { "not five cells: $line" }
    val (base, rev, changes, rows, shows) = cells
    return Step(
        base.takeIf { it != "-" }?.toUInt(),
        rev.toUInt(),
        changes.split(';').filter { it.isNotBlank() }.map(::change),
        words(rows),
        if (shows == "misfit") null else words(shows),
    )
}

/** The cases of the table that the suites of all languages run, for lists of that kind: `growing` or `fixed`. */
fun listCases(kind: String): List<ListCase> =
    File("../cases/lists.txt").readText().split(Regex("(?m)^== ")).drop(1).map { text ->
        val lines = text.lines()
        val (lists, name) = lines.first().split(": ")
        ListCase(lists, name, lines.drop(1).filter { it.isNotEmpty() }.map(::step))
    }.filter { it.lists == "every" || it.lists == kind }
