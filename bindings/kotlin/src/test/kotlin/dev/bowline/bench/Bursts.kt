package dev.bowline.bench

import dev.bowline.HostsListener
import dev.bowline.PreviewData
import dev.bowline.hostsListener
import java.util.concurrent.CountDownLatch

private const val UPDATES = 100_000u

/** What the slow callback takes, in milliseconds. */
private const val SLOW_MS = 10L

/** In a millisecond, which is what the library counts in. */
private const val MICROS = 1e3
private const val NANOS = 1e6

/**
 * Microseconds that the library needs for [UPDATES] updates, with nobody subscribed and with a subscriber whose callback takes
 * [SLOW_MS]. The two take turns.
 */
internal suspend fun bursts(samples: Int): Pair<List<Double>, List<Double>> {
    val (alone, slow) = ArrayList<Double>() to ArrayList<Double>()
    repeat(1 + samples) { n ->
        val unwatched = PreviewData(1u, 0u).use { it.burst(UPDATES, 0u) }
        val watched = PreviewData(1u, 0u).use { preview ->
            val subscription = preview.subscribeHosts(hostsListener { Thread.sleep(SLOW_MS) })
            preview.burst(UPDATES, 0u).also {
                subscription.cancel()
                subscription.ended()
                subscription.close()
            }
        }
        // The first of each warms up.
        if (n > 0) {
            alone.add(unwatched * MICROS)
            slow.add(watched * MICROS)
        }
    }
    return alone to slow
}

/**
 * Microseconds until the last of [UPDATES] updates in a second is delivered, from the end of the callback before it, or of the
 * updates if that is later.
 */
internal suspend fun lastAfterFree(samples: Int): List<Double> = List(samples) {
    PreviewData(1u, 0u).use { preview ->
        val last = LastCall()
        val subscription = preview.subscribeHosts(last.listener)
        val begun = System.nanoTime()
        // When it was over, and not when the library's one thread had time to say so.
        val published = begun + (preview.burst(UPDATES, UPDATES) * NANOS).toLong()
        last.called.await()
        subscription.cancel()
        subscription.ended()
        subscription.close()
        // It may have been on its way before the end of the updates was told here.
        ((last.at - maxOf(last.freeAt, published)) / 1e3).coerceAtLeast(0.0)
    }
}

/** Takes its time, and notes when the last update came and since when it could have. */
private class LastCall {
    val called = CountDownLatch(1)

    @Volatile
    var at = 0L

    @Volatile
    var freeAt = 0L

    val listener: HostsListener = hostsListener { snapshot ->
        val entered = System.nanoTime()
        if (snapshot.hosts[0].name == "$UPDATES") {
            at = entered
            called.countDown()
        } else {
            Thread.sleep(SLOW_MS)
            freeAt = System.nanoTime()
        }
    }
}
