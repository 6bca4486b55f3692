package dev.bowline

import java.lang.ref.WeakReference
import java.net.NetworkInterface
import java.net.SocketException
import kotlin.concurrent.thread

/** Receiver of platform events: the library, as a [PlatformObserver] sees it. */
public interface PlatformTarget {
    /** Reports an event. From any thread; returns at once. */
    public fun tell(event: PlatformEvent)

    /**
     * The system is about to freeze the app: files are closed and their locks released when this returns. Until [resume] the
     * runtime sends nothing.
     */
    public suspend fun pause()

    /**
     * The app was not frozen after all, or is awake again.
     *
     * @throws BowlineException when the storage cannot be used any more; it may be called again.
     */
    public suspend fun resume()
}

/**
 * Reports the app's life cycle and network changes to the library, so that no view has to (INV-7). On Android it is
 * `dev.bowline.android.AndroidPlatform`; on a desktop [NetworkInterfaceObserver], and an app may add its own.
 */
public fun interface PlatformObserver {
    /**
     * Starts observing and reports events to [target]. The [Bowline] holds the target: an observer
     * that holds it weakly does not keep an unclosed one alive.
     *
     * @return ends the observation; no event is reported afterwards.
     */
    public fun observe(target: PlatformTarget): AutoCloseable

    public companion object {
        /** Observes nothing: for tests. */
        public val none: PlatformObserver = PlatformObserver { AutoCloseable { } }

        /** Observes with all of these. */
        public fun of(vararg observers: PlatformObserver): PlatformObserver = PlatformObserver { target ->
            val running = ArrayList<AutoCloseable>()
            val all = AutoCloseable { running.forEach(AutoCloseable::close) }
            try {
                observers.mapTo(running) { it.observe(target) }
            } catch (problem: Throwable) {
                all.close()
                throw problem
            }
            all
        }
    }
}

/**
 * Polls the machine's network addresses and reports changes: the JVM has no notification of them.
 *
 * @param everyMs Milliseconds between two polls.
 * @param addresses What to compare; replaced in tests.
 */
public class NetworkInterfaceObserver(
    private val everyMs: Long = 2_000,
    private val addresses: () -> Set<String> = ::machineAddresses,
) : PlatformObserver {
    override fun observe(target: PlatformTarget): AutoCloseable {
        val told = WeakReference(target)
        val watcher = thread(isDaemon = true, name = "bowline-network") { watch(told) }
        return AutoCloseable { watcher.interrupt() }
    }

    /** Runs until it is interrupted or the target is gone. */
    private fun watch(told: WeakReference<PlatformTarget>) {
        var known = addresses()
        try {
            while (true) {
                Thread.sleep(everyMs)
                val target = told.get() ?: return
                val now = addresses()
                if (now != known) {
                    known = now
                    target.tell(PlatformEvent.NETWORK_CHANGED)
                }
            }
        } catch (_: InterruptedException) {
            // Closed.
        }
    }
}

private fun machineAddresses(): Set<String> = try {
    NetworkInterface.networkInterfaces()
        .filter { it.isUp && !it.isLoopback }
        .flatMap { it.inetAddresses() }
        .map { it.hostAddress }
        .toList()
        .toSet()
} catch (_: SocketException) {
    emptySet()
}
