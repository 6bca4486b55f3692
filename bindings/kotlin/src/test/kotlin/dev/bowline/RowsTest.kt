package dev.bowline

import kotlin.random.Random
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

/** The list of a timeline, compared with the plainest one. */
class RowsTest {
    @Test
    fun `BX-6 rows are those of a plain list, and an older list stays as it was`() {
        val random = Random(6)
        repeat(200) {
            var rows = Rows.none<Int>()
            val plain = ArrayList<Int>()
            repeat(60) { step ->
                val (before, copy) = rows to plain.toList()
                val at = if (step % 3 == 0) plain.size else random.nextInt(plain.size + 1)
                when (random.nextInt(4)) {
                    0 -> {
                        val new = List(random.nextInt(200)) { random.nextInt() }
                        rows = rows.inserted(at, new)
                        plain.addAll(at, new)
                    }
                    1 -> {
                        rows = rows.inserted(plain.size, listOf(step))
                        plain.add(step)
                    }
                    2 -> {
                        val count = random.nextInt(plain.size - at + 1)
                        rows = rows.removed(at, count)
                        plain.subList(at, at + count).clear()
                    }
                    else -> if (at < plain.size) {
                        rows = rows.replaced(at, -step)
                        plain[at] = -step
                    }
                }
                assertEquals(plain, rows)
                assertEquals(copy, before)
            }
        }
    }

    @Test
    fun `a place that is not there is an error`() {
        for (rows in listOf(Rows.none(), Rows.of(List(100) { it }))) {
            val size = rows.size
            for (wrong in listOf<() -> Any>(
                { rows[-1] },
                { rows[size] },
                { rows.replaced(size, 0) },
                { rows.inserted(size + 1, listOf(0)) },
                { rows.inserted(-1, listOf(0)) },
                { rows.removed(0, size + 1) },
                { rows.removed(1, Int.MAX_VALUE) },
                { rows.removed(0, -1) },
            )) assertThrows(IndexOutOfBoundsException::class.java) { wrong() }
        }
    }
}
