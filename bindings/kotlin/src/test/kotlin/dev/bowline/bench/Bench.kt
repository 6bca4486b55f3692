/** What the bindings cost on the JVM. `cargo xtask` runs it against a library built for release. */
@file:JvmName("Bench")

package dev.bowline.bench

import kotlinx.coroutines.runBlocking

/**
 * Measures, and prints one JSON object a line for each figure: its name, and its samples in microseconds.
 *
 * @param arguments `--quick`: fewer samples, with more noise.
 */
fun main(arguments: Array<String>): Unit = runBlocking {
    val quick = "--quick" in arguments
    val (short, long) = appends(samples = if (quick) 20 else 100)
    tell("append_$SHORT", short)
    tell("append_$LONG", long)
    val (few, many) = changedRows(samples = if (quick) 20 else 100)
    tell("row_$FEW", few)
    tell("row_$MANY", many)
    tell("first_snapshot", firstSnapshots(samples = if (quick) 10 else 100))
    tell("intent_call", intentCalls(samples = if (quick) 200 else 1_000))
    val (alone, slow) = bursts(samples = if (quick) 5 else 20)
    tell("burst_alone", alone)
    tell("burst_slow", slow)
    tell("last_after_free", lastAfterFree(samples = if (quick) 3 else 10))
}

private fun tell(figure: String, samples: List<Double>) {
    // Not in the user's language: a comma is no decimal point in JSON.
    val numbers = samples.joinToString(",") { String.format(java.util.Locale.ROOT, "%.3f", it) }
    println("""{"figure":"$figure","samples_us":[$numbers]}""")
}

/** Microseconds since a `System.nanoTime()`. */
internal fun microsSince(start: Long): Double = (System.nanoTime() - start) / 1e3
