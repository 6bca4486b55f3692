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
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
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
 * Safe to use from any thread. No call but the suspending ones waits for anything but the disk. To cancel a coroutine that waits in
 * one of these ends the waiting, and not what was asked for.
 *
 * It is to be closed, with [close] or [shutdown]; one that is forgotten ends when it is collected.
 *
 * @param config Storage folder, name and version of the app.
 * @param keyStore Where the identity of this install is kept; without one, in the storage folder. What it throws, of any kind, is an
 *   error of the storage: what cannot be read is never taken for absent (INV-9).
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
    private val ended = CompletableDeferred<Unit>()

    /** What observers are given. They may hold it weakly, so it is held here. */
    private val target = Target()
    private val observing: AutoCloseable

    /** Ends with this object; what is shared by collectors runs in it. */
    internal val scope: CoroutineScope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    init {
        Library.load()
        runtime = if (keyStore == null) BowlineRuntime(config) else BowlineRuntime.withKeyStore(config, guarded(keyStore))
        observing = try {
            platform.observe(target)
        } catch (problem: Throwable) {
            // Nobody gets this object, so nobody else can end it.
            closed.set(true)
            runtime.close()
            throw problem
        }
    }

    /** What the platform's observers hold of this. Late ones do no harm. */
    private inner class Target : PlatformTarget {
        override fun tell(event: PlatformEvent) {
            try {
                call { platformEvent(event) }
            } catch (_: BowlineException) {
                // It is closed or broken. Every other call says so; a thread of the platform's has nobody to say it to.
            }
        }

        override suspend fun pause() = unlessClosed { call { pause() } }

        override suspend fun resume() = unlessClosed { call { resume() } }

        private inline fun unlessClosed(tell: () -> Unit) = try {
            tell()
        } catch (_: BowlineException.Closed) {
            // It holds no file any more.
        }
    }

    /** Everything about all hosts. */
    public val hosts: StateFlow<HostsSnapshot> =
        folded(noHosts, ::newer) { receive -> call { subscribeHosts(hostsListener(receive)) } }
            .kept(noHosts)

    /** The agents of all hosts in one list (DS), and how each host's part of it stands. */
    public val directory: StateFlow<Directory> =
        folded(Directory.empty, Directory::with) { receive -> call { subscribeDirectory(directoryListener(receive)) } }
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
            call { subscribeTimeline(serverId, ScreenTarget.Agent(agentId), timelineListener(receive)) }
        }

    /**
     * Pairs with the daemon of an offer, and returns once it has proved its identity and taken this device.
     *
     * @throws BowlineException says why not, and what to do; nothing is stored then.
     */
    public suspend fun pair(offer: String): HostInfo = call { pair(offer) }

    /** Forgets a host: its key, its addresses, and the intents that wait for it. True if it was known. */
    public suspend fun forget(serverId: String): Boolean = call { forgetHost(serverId) }

    /** The ways a host can run agents. */
    public suspend fun providers(serverId: String): List<ProviderInfo> = call { providers(serverId) }

    /**
     * Sends an intent: checks it, keeps it, and returns its id at once. It is done exactly once, across lost connections and
     * restarts of the app (BX-1); what becomes of it is in the snapshots.
     *
     * @throws BowlineException when it cannot be kept; nothing is done then.
     */
    public fun send(serverId: String, intent: Intent): String = call { send(serverId, intent) }

    /**
     * What the daemon answered to an intent that a snapshot says is done with a result too long for it: JSON; null when it is not
     * known, or not any more.
     */
    public fun intentResult(serverId: String, intentId: String): String? = call { intentResult(serverId, intentId) }

    /** Fetches the page before the oldest item of an agent's timeline, where it is open; it is in a next value. */
    public fun loadOlder(serverId: String, agentId: String): Unit = call { loadOlder(serverId, agentId) }

    /** Fetches the page after the last item of an open timeline, where that is not the newest ([Timeline.newer]). */
    public fun loadNewer(serverId: String, agentId: String): Unit = call { loadNewer(serverId, agentId) }

    /** Shows the newest items of an open timeline, wherever its view was. */
    public fun jumpToNewest(serverId: String, agentId: String): Unit = call { jumpToNewest(serverId, agentId) }

    /** Tries again at once to load an open timeline, after that failed. */
    public fun reload(serverId: String, agentId: String): Unit = call { reload(serverId, agentId) }

    /** The user has seen that a message or a creation failed: it is shown no more. */
    public fun dismiss(serverId: String, intentId: String): Unit = call { dismiss(serverId, intentId) }

    /** Fetches the lists of all hosts again (DS). */
    public fun refresh(): Unit = call { refresh() }

    /** The user wants that path of a host, one of its probes; or the best one, with null. */
    public fun selectPath(serverId: String, path: Probe?): Unit = call { selectPath(serverId, path) }

    /**
     * Ends everything and waits until it is done, a few seconds at most; so does every further call. Intents without an outcome
     * are kept.
     */
    public suspend fun shutdown() {
        if (!closed.compareAndSet(false, true)) return ended.await()
        try {
            stop()
            runtime.shutdown()
        } finally {
            release()
        }
    }

    /** Ends everything, without waiting for it. Any number of times. */
    override fun close() {
        if (!closed.compareAndSet(false, true)) return
        try {
            stop()
        } finally {
            release()
        }
    }

    private fun stop() {
        scope.cancel()
        observing.close()
    }

    private fun release() {
        runtime.close()
        ended.complete(Unit)
    }

    /**
     * Calls the library, until the end. The generated object still takes calls while others are on their way, so the flag is our
     * own; and a call that the end overtakes would throw what no app expects.
     *
     * @throws BowlineException.Closed after the end.
     */
    internal inline fun <T> call(call: BowlineRuntime.() -> T): T {
        if (closed.get()) throw over()
        return try {
            runtime.call()
        } catch (cancelled: CancellationException) {
            throw cancelled
        } catch (problem: IllegalStateException) {
            throw if (closed.get()) over() else problem
        }
    }

    private fun over() = BowlineException.Closed("this Bowline is closed", Advice.NOTHING, null)

    private fun <T> Flow<T>.kept(initial: T): StateFlow<T> =
        // The end of the library's side leaves the last value; every call then says why.
        catch { }.stateIn(scope, SharingStarted.WhileSubscribed(KEPT_MS), initial)
}
