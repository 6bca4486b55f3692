package dev.bowline

import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/** Waits for a condition that other threads bring about, looking whenever one says that something happened. */
class Tick {
    private val lock = ReentrantLock()
    private val happened = lock.newCondition()

    fun tick() = lock.withLock { happened.signalAll() }

    fun until(condition: () -> Boolean) {
        val deadline = System.nanoTime() + LONG.inWholeNanoseconds
        lock.withLock {
            while (!condition()) {
                check(System.nanoTime() < deadline) { "it did not happen in $LONG" }
                // Bounded, for conditions that nobody announces.
                happened.awaitNanos(20_000_000)
            }
        }
    }
}
