package dev.bowline

import java.io.File
import java.util.concurrent.atomic.AtomicInteger
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.takeWhile
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeAll
import org.junit.jupiter.api.Test

/** Nothing grows, however much happens. */
class LoadTest {
    @Test
    fun `a listener that takes 10 ms gets fewer of 100,000 updates, and the last of them`() = runBlocking {
        PreviewData(1u, 0u).use { preview ->
            val calls = AtomicInteger()
            val last = java.util.concurrent.atomic.AtomicReference("")
            val called = Tick()
            preview.subscribeHosts(
                hostsListener {
                    Thread.sleep(10)
                    calls.incrementAndGet()
                    last.set(it.hosts[0].name)
                    called.tick()
                },
            ).use {
                preview.burst(UPDATES, 0u)
                called.until { last.get() == "$UPDATES" }
            }
            assertTrue(calls.get() < UPDATES.toInt() / 10, "${calls.get()} calls")
        }
    }

    @Test
    fun `a collector that takes 10 ms gets fewer of 100,000 updates, and the last of them`() = runBlocking {
        PreviewData(1u, 0u).use { preview ->
            val seen = AtomicInteger()
            val collecting = async(Dispatchers.Default) {
                preview.hosts().takeWhile { it.hosts[0].name != "$UPDATES" }.collect {
                    seen.incrementAndGet()
                    Thread.sleep(10)
                }
            }
            preview.burst(UPDATES, 0u)
            withTimeout(LONG) { collecting.await() }
            assertTrue(seen.get() < UPDATES.toInt() / 10, "${seen.get()} values")
        }
    }

    @Test
    fun `10,000 subscriptions made and ended leave memory and threads as they were`() = runBlocking {
        PreviewData(4u, 50u).use { preview ->
            suspend fun cycles(count: Int) = repeat(count) { n ->
                val called = java.util.concurrent.CountDownLatch(1)
                val subscription = preview.subscribeHosts(hostsListener { called.countDown() })
                // Every other one ends before it was called.
                if (n % 2 == 0) assertTrue(called.await(60, java.util.concurrent.TimeUnit.SECONDS))
                subscription.cancel()
                if (n % 50 == 0) assertEquals(EndReason.CANCELLED, withTimeout(LONG) { subscription.ended() })
                subscription.close()
            }
            cycles(10_000)
            val (memory, threads) = resident() to Thread.activeCount()
            cycles(10_000)
            val grown = resident() - memory
            assertTrue(grown < 24L shl 20, "grown by ${grown shr 10} KiB over 10,000 subscriptions")
            assertTrue(Thread.activeCount() <= threads + 4, "threads: $threads, then ${Thread.activeCount()}")
        }
    }

    @Test
    fun `1,000,000 updates leave memory as it was`() = runBlocking {
        PreviewData(4u, 0u).use { preview ->
            val collecting = launch(Dispatchers.Default) { preview.hosts().collect { } }
            preview.burst(UPDATES, 0u)
            val memory = resident()
            preview.burst(UPDATES * 10u, 0u)
            val grown = resident() - memory
            collecting.cancel()
            assertTrue(grown < 24L shl 20, "grown by ${grown shr 10} KiB over 1,000,000 updates")
        }
    }

    /** Bytes that the process occupies, after what nobody holds was collected. */
    private fun resident(): Long {
        repeat(3) { System.gc() }
        val status = File("/proc/self/status")
        // Elsewhere than on Linux the heap must do.
        if (!status.exists()) return Runtime.getRuntime().run { totalMemory() - freeMemory() }
        val line = status.readLines().first { it.startsWith("VmRSS:") }
        return line.filter(Char::isDigit).toLong() shl 10
    }

    companion object {
        private val UPDATES = 100_000u

        @BeforeAll
        @JvmStatic
        fun load() = Library.load()
    }
}
