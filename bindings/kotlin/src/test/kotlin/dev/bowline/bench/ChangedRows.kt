package dev.bowline.bench

import dev.bowline.PreviewData
import dev.bowline.PreviewRow
import dev.bowline.Table
import dev.bowline.table
import java.util.Locale
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.cancelChildren
import kotlinx.coroutines.channels.ReceiveChannel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.produceIn

/** Rows of the two tables. */
internal const val FEW = 100
internal const val MANY = 100_000

/** Rows changed for one sample. */
private const val CHANGED = 200

/** Samples before the measured ones, until the JIT has compiled what they run. */
private const val WARM_UP = 25

/**
 * Microseconds from `changeRow` until the package's table has the decoded row, the mean of [CHANGED], for a table of [FEW] and one of
 * [MANY] rows. The two take turns, so that noise meets both.
 */
internal suspend fun changedRows(samples: Int): Pair<List<Double>, List<Double>> = coroutineScope {
    val (short, long) = ArrayList<Double>() to ArrayList<Double>()
    val (few, many) = Cells(this, FEW).also { it.open() } to Cells(this, MANY).also { it.open() }
    repeat(WARM_UP + samples) { n ->
        // What was left behind before is not what a changed row costs.
        System.gc()
        val pair = few.changed() to many.changed()
        if (n >= WARM_UP) {
            short.add(pair.first)
            long.add(pair.second)
        }
    }
    coroutineContext.cancelChildren()
    short to long
}

/** A table whose rows are changed, each time another, spread over it. */
private class Cells(scope: CoroutineScope, private val length: Int) {
    private val preview = PreviewData(0u, 0u)
    private val shown: ReceiveChannel<Table<Int>> = preview.table("cells") { it.substringAfterLast(':').dropLast(1).toInt() }.produceIn(scope)
    private var times = 0

    suspend fun open() {
        preview.showTable("cells", List(length) { row(it, 0) })
        while (shown.receive().rows.size < length) {
            // An older one.
        }
    }

    suspend fun changed(): Double {
        val start = System.nanoTime()
        repeat(CHANGED) {
            times += 1
            val place = times * maxOf(1, length / CHANGED) % length
            preview.changeRow("cells", row(place, times))
            while (shown.receive().rows[place].value != times) {
                // An older one.
            }
        }
        return microsSince(start) / CHANGED
    }

    private fun row(place: Int, times: Int) =
        PreviewRow(String.format(Locale.ROOT, "c%06d", place), """{"text":"text $place","times":$times}""")
}
