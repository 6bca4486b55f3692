package dev.bowline

import dev.bowline.ffi.PlatformEvent
import java.lang.ref.WeakReference
import java.net.NetworkInterface
import java.net.SocketException
import kotlin.concurrent.thread

/** What a platform tells: the library, as a [PlatformObserver] sees it. */
public interface PlatformTarget {
    /** Something happened. From any thread; returns at once. */
    public fun tell(event: PlatformEvent)

    /**
     * The system is about to freeze the app: files are closed and their locks released when this returns. Until [resume] the
     * runtime sends nothing.
     */
    public suspend fun pause()

    /**
     * The app was not frozen after all, or is awake again.
     *
     * @throws dev.bowline.ffi.BowlineException when the storage cannot be used any more; it may be called again.
     */
    public suspend fun resume()
}

/**
 * Tells the library of the app's life and of the network, so that no view has to (INV-7). On Android it is
 * `dev.bowline.android.AndroidPlatform`; on a desktop [NetworkInterfaceObserver], and an app may add its own.
 */
public fun interface PlatformObserver {
    /**
     * Begins to observe, and tells [target], which is held by the [Bowline] that it belongs to: an observer that holds it weakly lets
     * go of one that nobody closed.
     *
     * @return ends it; after that nothing is told.
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
 * Looks at the machine's network addresses now and then, and tells when they are others than before: the JVM has no
 * notification of it.
 *
 * @param everyMs Milliseconds between two looks.
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

    /** Until it is interrupted, or nobody is left to be told. */
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
