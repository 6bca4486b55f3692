package dev.bowline

import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.SharingStarted
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.stateIn

/**
 * Milliseconds that a subscription outlives its last collector, so that a rotated screen keeps it.
 */
internal const val KEPT_MS: Long = 5_000

/**
 * Keeps an app attached to its hosts. An app has one, for as long as its process lives.
 *
 * Apps neither connect nor disconnect (INV-7): the library does, and [platform] reports the app's
 * life cycle and network changes to it. A view collects [hosts], [directory] and [screen], and sends
 * intents.
 *
 * Safe to use from any thread. Only suspending calls wait for the network; the others wait at most
 * for the disk. Cancelling a coroutine in a suspending call ends the wait, and not the operation.
 *
 * Close it with [close] or [shutdown]; an unclosed one ends when it is garbage-collected.
 *
 * @param config Storage folder, name and version of the app.
 * @param keyStore Holds the identity of this install; without one, the storage folder does. Any exception
 *   it throws is a storage error: an unreadable identity never counts as absent (INV-9).
 * @param platform Reports the app's life cycle and network changes.
 * @throws BowlineException when the storage cannot be used, or its identity is corrupt: none is
 *   generated in its place (INV-9).
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

    /** The target of observers. They may hold it weakly, so this object holds it. */
    private val target = Target()
    private val observing: AutoCloseable

    /** Scope of the flows that collectors share; cancelled with this object. */
    internal val scope: CoroutineScope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    init {
        Library.load()
        runtime = if (keyStore == null) BowlineRuntime(config) else BowlineRuntime.withKeyStore(config, guarded(keyStore))
        observing = try {
            platform.observe(target)
        } catch (problem: Throwable) {
            // The caller never receives this object and cannot close it.
            closed.set(true)
            runtime.close()
            throw problem
        }
    }

    /** The target of the platform's observers. Late calls have no effect. */
    private inner class Target : PlatformTarget {
        override fun tell(event: PlatformEvent) {
            try {
                call { platformEvent(event) }
            } catch (_: BowlineException) {
                // It is closed or broken. Every other call throws; a thread of the platform has no
                // caller to report to.
            }
        }

        override suspend fun pause() = unlessClosed { call { pause() } }

        override suspend fun resume() = unlessClosed { call { resume() } }

        private inline fun unlessClosed(tell: () -> Unit) = try {
            tell()
        } catch (_: BowlineException.Closed) {
            // It no longer holds any file.
        }
    }

    private val hostsFailures = MutableStateFlow<Throwable?>(null)
    private val directoryFailures = MutableStateFlow<Throwable?>(null)

    /**
     * Why [hosts] gets no new values: a [SubscriptionEnded] or a [BowlineException]. Null while it does; what may pass is subscribed
     * to again.
     */
    public val hostsFailure: StateFlow<Throwable?> = hostsFailures.asStateFlow()

    /** Why [directory] gets no new values, as [hostsFailure]. */
    public val directoryFailure: StateFlow<Throwable?> = directoryFailures.asStateFlow()

    /** The state of all hosts. */
    public val hosts: StateFlow<HostsSnapshot> =
        folded(noHosts, ::newer) { receive -> call { subscribeHosts(hostsListener(receive)) } }
            .kept(noHosts, hostsFailures)

    /** The agents of all hosts in one list (DS-2), and the state of each host's part. */
    public val directory: StateFlow<Directory> =
        folded(Directory.empty, Directory::with) { receive -> call { subscribeDirectory(directoryListener(receive)) } }
            .kept(Directory.empty, directoryFailures)

    /** The screen of an agent, or of one being created; close it with the view that shows it. */
    public fun screen(serverId: String, target: ScreenTarget): AgentScreenStore = AgentScreenStore(this, serverId, target)

    /** The screen of an agent; close it with the view that shows it. */
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
     * Rows of a service's table: the first ones, then every change (LD-2). [params], a JSON object, says which rows, as the
     * service defines. Each collector has a subscription of its own; all with the same name and parameters share what they follow.
     *
     * @param decode The value of a row from its JSON, called once for each new value on the library's thread. One that keeps
     *   failing ends the flow.
     * @throws SubscriptionEnded to the collector, when the host is forgotten or has its most tables open.
     */
    public fun <T> table(serverId: String, name: String, params: String = "{}", decode: (String) -> T): Flow<Table<T>> =
        folded<TableUpdate, Table<T>>(Table.empty, { held, update -> held.with(update, decode) }) { receive ->
            call { subscribeTable(serverId, name, params, tableListener(receive)) }
        }

    /**
     * A service's log: its newest items, then every new one and every growth (LD-2). [params], a JSON object, says which log, as the
     * service defines. Each collector has a subscription of its own; all with the same name and parameters share what they follow.
     *
     * @param grow Appends text to a value that the service lets grow, called on the library's thread. Without it, such a value is
     *   decoded anew from its whole JSON.
     * @param decode The value of an item from its JSON, called once for each new value on the library's thread. One that keeps
     *   failing ends the flow.
     * @throws SubscriptionEnded to the collector, when the host is forgotten or has its most logs open.
     */
    public fun <T> log(
        serverId: String,
        name: String,
        params: String = "{}",
        grow: ((T, String) -> T)? = null,
        decode: (String) -> T,
    ): Flow<Log<T>> {
        val reader = ItemReader(decode, grow)
        return folded<LogUpdate, Log<T>>(Log.empty, { held, update -> held.with(update, reader) }) { receive ->
            call { subscribeLog(serverId, name, params, itemsListener(receive)) }
        }
    }

    /**
     * Events of a service's topic: every one from now on, once and in order (LD-10). [params], a JSON object, says which, as the
     * service defines. Each collector has a subscription of its own; all with the same name and parameters share one follow. While a
     * collector is slow, batches wait: 4,096 events and 8 MiB of them at most.
     *
     * @param decode The body of an event from its JSON, called on the library's thread. One that keeps failing ends the flow.
     * @throws SubscriptionEnded to the collector, when the host is forgotten or has its most topics open.
     */
    public fun <T> topic(serverId: String, name: String, params: String = "{}", decode: (String) -> T): Flow<TopicBatch<T>> =
        batches(decode) { receive -> call { subscribeTopic(serverId, name, params, topicListener(receive)) } }

    /**
     * The content of an offer, for a person to confirm before [pair]. Contacts nobody.
     *
     * @throws BowlineException.InvalidOffer if the text is no offer, or was tampered with.
     */
    public fun inspectOffer(offer: String): OfferInfo = call { inspectOffer(offer) }

    /**
     * Pairs with the daemon of an offer, which a person has confirmed. Returns once the daemon has proved its identity and
     * accepted this device.
     *
     * @throws BowlineException with the reason and the recommended action; nothing is stored then.
     */
    public suspend fun pair(offer: String): HostInfo = call { pair(offer) }

    /**
     * Forgets a host: its key, its addresses and its pending intents. Returns whether it was known.
     */
    public suspend fun forget(serverId: String): Boolean = call { forgetHost(serverId) }

    /** The providers of a host. */
    public suspend fun providers(serverId: String): List<ProviderInfo> = call { providers(serverId) }

    /**
     * Asks a read-only method of the daemon, or of a service linked into it, and returns the result as JSON. [params] is a
     * JSON object or array. While the host connects, the query waits for up to 15 s; with the answer, it takes 30 s at most.
     * It is sent once and not repeated; changes are for [send].
     */
    public suspend fun query(serverId: String, method: String, params: String = "{}"): String =
        call { query(serverId, method, params) }

    /**
     * Checks and stores an intent, and returns its id at once. The daemon executes it exactly once,
     * across lost connections and restarts of the app (BX-1); the snapshots report its outcome.
     *
     * @throws BowlineException when it cannot be stored; it is not executed then.
     */
    public fun send(serverId: String, intent: Intent): String = call { send(serverId, intent) }

    /**
     * As [send] without [shows], which tells what the intent is expected to change: rows of collected tables show it at once,
     * `pending`, also after a restart of the app, until the daemon's change replaces it; a refused one leaves a `failure` at the
     * row until [dismiss] (LD-3). At most 64 changes with 64 KiB; [Show] makes them.
     *
     * @throws BowlineException when it cannot be stored; it is not executed then.
     */
    public fun send(serverId: String, intent: Intent, shows: List<Patch>): Receipt =
        Receipt(call { sendWith(serverId, intent, shows) })

    /**
     * Waits for the outcome of an intent, across disconnects, also of one that an earlier process of the app has sent. Null if it is
     * not known: it is neither pending, nor among the latest 64 of the host, nor a failure that is shown.
     */
    public suspend fun outcome(serverId: String, intentId: String): IntentOutcome? = call { outcome(serverId, intentId) }

    /**
     * The whole result, as JSON, of an executed intent whose result was too long for a snapshot; null
     * when it is unknown or no longer stored.
     */
    public fun intentResult(serverId: String, intentId: String): String? = call { intentResult(serverId, intentId) }

    /** Loads the page after the last row of a table that is collected; a later value has the result. */
    public fun loadMoreRows(serverId: String, name: String, params: String = "{}"): Unit =
        call { loadMoreRows(serverId, name, params) }

    /** Loads the rows of a table that is collected again, also after a refusal. */
    public fun refreshTable(serverId: String, name: String, params: String = "{}"): Unit =
        call { refreshTable(serverId, name, params) }

    /** Loads the page before the oldest item of a log that is collected; a later value has the result. */
    public fun loadOlderItems(serverId: String, name: String, params: String = "{}"): Unit =
        call { loadOlderItems(serverId, name, params) }

    /** Loads the items of a log that is collected again, also after a refusal. */
    public fun refreshLog(serverId: String, name: String, params: String = "{}"): Unit =
        call { refreshLog(serverId, name, params) }

    /** Loads the page before the oldest item of an open timeline; a later value has the result. */
    public fun loadOlder(serverId: String, agentId: String): Unit = call { loadOlder(serverId, agentId) }

    /**
     * Loads the page after the last item of an open timeline, unless that is the newest
     * ([Timeline.newer]).
     */
    public fun loadNewer(serverId: String, agentId: String): Unit = call { loadNewer(serverId, agentId) }

    /** Moves the view of an open timeline to its newest items. */
    public fun jumpToNewest(serverId: String, agentId: String): Unit = call { jumpToNewest(serverId, agentId) }

    /** Retries a failed load of an open timeline at once. */
    public fun reload(serverId: String, agentId: String): Unit = call { reload(serverId, agentId) }

    /** Dismisses a failed message, creation or change of rows, so that it is no longer shown. */
    public fun dismiss(serverId: String, intentId: String): Unit = call { dismiss(serverId, intentId) }

    /** Loads the lists of all hosts again (DS-2). */
    public fun refresh(): Unit = call { refresh() }

    /** Selects a path of a host, one of its probes; null selects the best. */
    public fun selectPath(serverId: String, path: Probe?): Unit = call { selectPath(serverId, path) }

    /**
     * Closes all connections and subscriptions and waits until they have ended, a few seconds at most;
     * further calls wait too. Intents without an outcome stay stored.
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

    /** Closes all connections and subscriptions without waiting. May be called repeatedly. */
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

    private fun <T> Flow<T>.kept(initial: T, failures: MutableStateFlow<Throwable?>): StateFlow<T> =
        // When the library ends, the last value stays.
        retried(failures).stateIn(scope, SharingStarted.WhileSubscribed(KEPT_MS), initial)
}
