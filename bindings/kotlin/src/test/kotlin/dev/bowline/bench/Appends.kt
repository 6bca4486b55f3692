package dev.bowline.bench

import dev.bowline.PreviewData
import dev.bowline.Timeline
import dev.bowline.timeline
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.channels.ReceiveChannel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.produceIn

/** Items of the two histories. */
internal const val SHORT = 100
internal const val LONG = 10_000

/** Items appended for one sample. */
private const val APPENDED = 200

/** Samples before the measured ones, until the JIT has compiled what they run. */
private const val WARM_UP = 25

/**
 * Microseconds from `append` until the package's timeline shows the item, the mean of [APPENDED], for a history of [SHORT] and
 * one of [LONG] items (BX-6). The two take turns, so that noise meets both; each sample has a history of its own, which so stays as
 * long as its name says.
 */
internal suspend fun appends(samples: Int): Pair<List<Double>, List<Double>> {
    val (short, long) = ArrayList<Double>() to ArrayList<Double>()
    repeat(WARM_UP + samples) { n ->
        val pair = appended(SHORT) to appended(LONG)
        if (n >= WARM_UP) {
            short.add(pair.first)
            long.add(pair.second)
        }
    }
    return short to long
}

private suspend fun appended(history: Int): Double = coroutineScope {
    PreviewData(1u, history.toUInt()).use { preview ->
        val shown = shown(preview)
        shown.until(history)
        // What making the history left behind is not what an appended item costs.
        System.gc()
        val start = System.nanoTime()
        for (n in 1..APPENDED) {
            preview.append("a line of output, as long as they are")
            shown.until(history + n)
        }
        val mean = microsSince(start) / APPENDED
        shown.cancel()
        mean
    }
}

private fun CoroutineScope.shown(preview: PreviewData): ReceiveChannel<Timeline> = preview.timeline().produceIn(this)

private suspend fun ReceiveChannel<Timeline>.until(items: Int) {
    while (receive().items.size < items) {
        // An older one.
    }
}
