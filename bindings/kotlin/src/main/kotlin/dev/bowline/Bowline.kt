package dev.bowline

import dev.bowline.ffi.Advice
import dev.bowline.ffi.BowlineException
import dev.bowline.ffi.BowlineRuntime
import dev.bowline.ffi.HostInfo
import dev.bowline.ffi.HostsSnapshot
import dev.bowline.ffi.Intent
import dev.bowline.ffi.KeyStore
import dev.bowline.ffi.PlatformEvent
import dev.bowline.ffi.Probe
import dev.bowline.ffi.ProviderInfo
import dev.bowline.ffi.RuntimeConfig
import dev.bowline.ffi.ScreenTarget
import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.SharingStarted
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.flow.stateIn

/** How long a subscription outlives its last collector, in milliseconds: a rotated screen does not begin anew. */
internal const val KEPT_MS: Long = 5_000

/**
 * Keeps an app attached to its hosts. An app has one, for as long as its process lives.
 *
 * There is nothing to connect and nothing to disconnect (INV-7): the library does that by itself, and is told of the app's
 * life and of the network by [platform]. A view collects [hosts], [directory] and [screen], and sends intents.
 *
 * Safe to use from any thread. No call but the suspending ones waits for anything but the disk.
 *
 * @param config Storage folder, name and version of the app.
 * @param keyStore Where the identity of this install is kept; without one, in the storage folder.
 * @param platform Tells of the app's life and of the network.
 * @throws BowlineException when the storage cannot be used, or an identity in it is corrupt: none is made in its place (INV-9).
 * @throws LibraryException when the native library is missing or of another version.
 */
public class Bowline(
    config: RuntimeConfig,
    keyStore: KeyStore? = null,
    platform: PlatformObserver = NetworkInterfaceObserver(),
) : AutoCloseable {
    private val runtime: BowlineRuntime
    private val closed = AtomicBoolean()
    private val observing: AutoCloseable

    /** Ends with this object; what is shared by collectors runs in it. */
    internal val scope: CoroutineScope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    init {
        Library.load()
        runtime = if (keyStore == null) BowlineRuntime(config) else BowlineRuntime.withKeyStore(config, keyStore)
        observing = platform.observe(Target())
    }

    /** What the platform's observers hold of this. Late ones do no harm. */
    private inner class Target : PlatformTarget {
        override fun tell(event: PlatformEvent) {
            // What ended the library is told by its subscriptions; the platform has no use for it.
            if (!closed.get()) runCatching { runtime.platformEvent(event) }
        }

        override suspend fun pause() {
            if (!closed.get()) runtime.pause()
        }

        override suspend fun resume() {
            if (!closed.get()) runtime.resume()
        }
    }

    /** Everything about all hosts. */
    public val hosts: StateFlow<HostsSnapshot> =
        folded(noHosts, ::newer) { receive -> open().subscribeHosts(hostsListener(receive)) }
            .kept(noHosts)

    /** The agents of all hosts in one list (DS). */
    public val directory: StateFlow<Directory> =
        folded(Directory.empty, Directory::with) { receive -> open().subscribeDirectory(directoryListener(receive)) }
            .kept(Directory.empty)

    /** The screen of an agent, or of one that is being created; to be closed with the view that shows it. */
    public fun screen(serverId: String, target: ScreenTarget): AgentScreenStore = AgentScreenStore(this, serverId, target)

    /** The screen of an agent; to be closed with the view that shows it. */
    public fun screen(serverId: String, agentId: String): AgentScreenStore = screen(serverId, ScreenTarget.Agent(agentId))

    /**
     * One agent's timeline alone. Each collector has a subscription of its own.
     *
     * @throws SubscriptionEnded to the collector, when the host is forgotten.
     */
    public fun timeline(serverId: String, agentId: String): Flow<Timeline> =
        folded(Timeline.empty, Timeline::with) { receive ->
            open().subscribeTimeline(serverId, ScreenTarget.Agent(agentId), timelineListener(receive))
        }

    /**
     * Pairs with the daemon of an offer, and returns once it has proved its identity and taken this device.
     *
     * @throws BowlineException says why not, and what to do; nothing is stored then.
     */
    public suspend fun pair(offer: String): HostInfo = open().pair(offer)

    /** Forgets a host: its key, its addresses, and the intents that wait for it. True if it was known. */
    public suspend fun forget(serverId: String): Boolean = open().forgetHost(serverId)

    /** The ways a host can run agents. */
    public suspend fun providers(serverId: String): List<ProviderInfo> = open().providers(serverId)

    /**
     * Sends an intent: checks it, keeps it, and returns its id at once. It is done exactly once, across lost connections and
     * restarts of the app (BX-1); what becomes of it is in the snapshots.
     */
    public fun send(serverId: String, intent: Intent): String = open().send(serverId, intent)

    /** Fetches the page before the oldest item of an agent's timeline, where it is open; it is in a next value. */
    public fun loadOlder(serverId: String, agentId: String): Unit = open().loadOlder(serverId, agentId)

    /** The user has seen that a message or a creation failed: it is shown no more. */
    public fun dismiss(serverId: String, intentId: String): Unit = open().dismiss(serverId, intentId)

    /** Fetches the lists of all hosts again (DS). */
    public fun refresh(): Unit = open().refresh()

    /** The user wants that path of a host, one of its probes; or the best one, with null. */
    public fun selectPath(serverId: String, path: Probe?): Unit = open().selectPath(serverId, path)

    /** Ends everything and waits until it is done, a few seconds at most. Intents without an outcome are kept. */
    public suspend fun shutdown() {
        if (end()) {
            try {
                runtime.shutdown()
            } finally {
                runtime.close()
            }
        }
    }

    /** Ends everything, without waiting for it. Any number of times. */
    override fun close() {
        if (end()) runtime.close()
    }

    private fun end(): Boolean {
        val first = closed.compareAndSet(false, true)
        if (first) {
            observing.close()
            scope.cancel()
        }
        return first
    }

    /** The generated object still takes calls while others are on their way, so the flag is our own. */
    internal fun open(): BowlineRuntime {
        if (closed.get()) throw BowlineException.Closed("this Bowline is closed", Advice.NOTHING, null)
        return runtime
    }

    private fun <T> Flow<T>.kept(initial: T): StateFlow<T> =
        // The end of the library's side leaves the last value; every call then says why.
        catch { }.stateIn(scope, SharingStarted.WhileSubscribed(KEPT_MS), initial)
}
