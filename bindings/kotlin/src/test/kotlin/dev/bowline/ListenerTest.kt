package dev.bowline

import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import java.util.concurrent.atomic.AtomicReference
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeAll
import org.junit.jupiter.api.Test

/** What app code may do in a callback without harm. */
class ListenerTest {
    @Test
    fun `a callback that throws is counted, and detached after sixteen times`() = runBlocking {
        PreviewData(1u, 0u).use { preview ->
            val calls = AtomicInteger()
            val called = Tick()
            val subscription = preview.subscribeHosts(hostsListener { calls.incrementAndGet(); called.tick(); throw AssertionError("not an Exception") })
            subscription.use {
                called.until { calls.get() >= 1 }
                var n = 0
                while (!subscription.isEnding()) {
                    val seen = calls.get()
                    preview.renameHost("name ${n++}")
                    called.until { calls.get() > seen || subscription.isEnding() }
                }
                assertEquals(EndReason.LISTENER_FAILED, withTimeout(LONG) { subscription.ended() })
                assertEquals(16, calls.get())
            }
            // Others go on.
            assertEquals(1, preview.hosts().until { it.hosts.isNotEmpty() }.hosts.size)
        }
    }

    @Test
    fun `a listener that threw now and then is given whole values again`() = runBlocking {
        PreviewData(1u, 3u).use { preview ->
            val first = AtomicInteger()
            val newest = AtomicReference(Timeline.empty)
            val called = Tick()
            val subscription = preview.subscribeTimeline(
                timelineListener { update ->
                    try {
                        if (first.getAndIncrement() == 0) error("not now")
                        newest.set(newest.get().with(update))
                    } finally {
                        called.tick()
                    }
                },
            )
            subscription.use {
                called.until { first.get() == 1 }
                preview.append("after")
                called.until { newest.get().items.size == 4 }
                assertEquals("after", newest.get().items.last().text)
            }
        }
    }

    @Test
    fun `LS-15 a callback may call the library`() = runBlocking {
        PreviewData(1u, 0u).use { preview ->
            val names = ConcurrentHashMap.newKeySet<String>()
            val inner = AtomicReference<Subscription>()
            val called = Tick()
            preview.subscribeHosts(
                hostsListener { snapshot ->
                    if (names.add(snapshot.hosts[0].name) && names.size == 1) {
                        preview.renameHost("from inside")
                        inner.set(preview.subscribeHosts(hostsListener { names.add("inner ${it.hosts[0].name}"); called.tick() }))
                    }
                    called.tick()
                },
            ).use {
                called.until { "from inside" in names && "inner from inside" in names }
            }
            inner.get().close()
        }
    }

    @Test
    fun `a subscription may be ended in its own callback, and is not called again`() = runBlocking {
        PreviewData(1u, 0u).use { preview ->
            val calls = AtomicInteger()
            val own = AtomicReference<Subscription>()
            val ready = CountDownLatch(1)
            val done = CountDownLatch(1)
            own.set(
                preview.subscribeHosts(
                    hostsListener {
                        ready.await(60, TimeUnit.SECONDS)
                        calls.incrementAndGet()
                        own.get().cancel()
                        own.get().cancel()
                        done.countDown()
                    },
                ),
            )
            ready.countDown()
            assertTrue(done.await(60, TimeUnit.SECONDS))
            assertEquals(EndReason.CANCELLED, withTimeout(LONG) { own.get().ended() })
            preview.renameHost("nobody hears it")
            // A later subscription's delivery comes after whatever was due to the first one.
            preview.hosts().until { it.hosts[0].name == "nobody hears it" }
            assertEquals(1, calls.get())
            own.get().close()
        }
    }

    @Test
    fun `a call that is on its way at the end reaches no collector`() = runBlocking {
        PreviewData(1u, 0u).use { preview ->
            val entered = CountDownLatch(1)
            val leave = CountDownLatch(1)
            val late = AtomicInteger()
            val ended = AtomicInteger()
            val collecting = async(kotlinx.coroutines.Dispatchers.Default) {
                folded(0, { value: Int, _: HostsSnapshot ->
                    entered.countDown()
                    leave.await(60, TimeUnit.SECONDS)
                    value + 1
                }) { receive -> preview.subscribeHosts(hostsListener(receive)) }
                    .collect { if (ended.get() > 0) late.incrementAndGet() }
            }
            assertTrue(entered.await(60, TimeUnit.SECONDS))
            collecting.cancel()
            collecting.join()
            ended.incrementAndGet()
            leave.countDown()
            preview.hosts().until { it.hosts.isNotEmpty() }
            assertEquals(0, late.get())
        }
    }

    @Test
    fun `a runtime may be ended in a callback, and in the middle of one`() = runBlocking {
        Folder().use { folder ->
            val bowline = Bowline(config(folder.path), platform = PlatformObserver.none)
            val (entered, leave) = CountDownLatch(1) to CountDownLatch(1)
            val blocked = bowline.call {
                subscribeHosts(hostsListener { entered.countDown(); leave.await(60, TimeUnit.SECONDS) })
            }
            val done = CountDownLatch(1)
            val ending = bowline.call { subscribeHosts(hostsListener { bowline.close(); done.countDown() }) }
            assertTrue(entered.await(60, TimeUnit.SECONDS))
            // Nothing waits for the callback that blocks all others, not even its runtime's end.
            val other = Folder()
            Bowline(config(other.path), platform = PlatformObserver.none).close()
            leave.countDown()
            assertTrue(done.await(60, TimeUnit.SECONDS))
            assertEquals(EndReason.RUNTIME_CLOSED, withTimeout(LONG) { ending.ended() })
            assertEquals(EndReason.RUNTIME_CLOSED, withTimeout(LONG) { blocked.ended() })
            blocked.close()
            ending.close()
            other.close()
        }
        assertEquals(1, PreviewData(1u, 0u).use { preview -> preview.hosts().until { it.hosts.isNotEmpty() }.hosts.size })
    }

    @Test
    fun `the log is handed over, whatever its receiver throws`() {
        val lines = java.util.concurrent.LinkedBlockingQueue<String>()
        val first = AtomicInteger()
        Logs.collect(LogLevel.DEBUG) { batch ->
            if (first.getAndIncrement() == 0) throw AssertionError("not an Exception")
            batch.records.forEach { lines.add(it.message) }
        }.use {
            Folder().use { folder ->
                val deadline = System.nanoTime() + LONG.inWholeNanoseconds
                // Each makes its own lines.
                while (lines.isEmpty()) {
                    check(System.nanoTime() < deadline) { "nothing is logged" }
                    runBlocking { Bowline(config(folder.path), platform = PlatformObserver.none).shutdown() }
                    PreviewData(1u, 0u).use { it.subscribeHosts(hostsListener { error("logged") }).close() }
                }
            }
        }
        assertEquals(false, Logs.toSystem(LogLevel.ERROR))
    }

    @Test
    fun `all callbacks come on one thread, which does not keep the JVM alive`() = runBlocking {
        PreviewData(1u, 0u).use { preview ->
            val threads = ConcurrentHashMap.newKeySet<Thread>()
            val called = Tick()
            val count = AtomicInteger()
            preview.subscribeHosts(hostsListener { threads.add(Thread.currentThread()); count.incrementAndGet(); called.tick() }).use {
                repeat(200) {
                    val seen = count.get()
                    preview.renameHost("n$it")
                    called.until { count.get() > seen }
                }
            }
            assertEquals(1, threads.size, "$threads")
            assertTrue(threads.single().isDaemon)
            assertEquals("bowline", threads.single().name)
        }
    }

    companion object {
        @BeforeAll
        @JvmStatic
        fun load() = Library.load()
    }
}
