package dev.bowline

import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.channels.Channel.Factory.CONFLATED
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.retryWhen
import kotlinx.coroutines.launch

/**
 * A subscription ended without being cancelled.
 *
 * @property reason The reason.
 */
public class SubscriptionEnded internal constructor(public val reason: EndReason) : Exception(endText(reason)) {
    /** The recommended action. Only [Advice.TRY_AGAIN] means that another subscription may succeed. */
    public val advice: Advice get() = endAdvice(reason)
}

/**
 * Updates of a listener, folded to whole values. Only the newest value is buffered for a slow
 * collector, and the newest is never lost. Each collector has its own subscription, which ends with it.
 *
 * @param begin The value that the first update is applied to.
 * @param fold Runs on the library's thread, in order, for every update.
 * @param subscribe Subscribes a listener that passes every update to its argument.
 * @throws SubscriptionEnded to the collector, when the library ended it.
 */
internal fun <U, T> folded(
    begin: T,
    fold: (T, U) -> T,
    subscribe: (receive: (U) -> Unit) -> Subscription,
): Flow<T> = callbackFlow {
    Library.load()
    val closed = AtomicBoolean()
    // Only the library's dispatcher thread accesses it.
    var value = begin
    val subscription = subscribe { update ->
        // One call may still be running after the end.
        if (!closed.get()) {
            value = fold(value, update)
            trySend(value)
        }
    }
    launch {
        val reason = subscription.ended()
        close(if (reason == EndReason.CANCELLED) null else SubscriptionEnded(reason))
    }
    awaitClose {
        closed.set(true)
        subscription.cancel()
        subscription.close()
    }
    // Any other buffer would drop the newest value.
}.buffer(CONFLATED)

/** Makes a listener of any function, including one that throws. */
internal fun hostsListener(receive: (HostsSnapshot) -> Unit): HostsListener = object : HostsListener {
    override fun onHosts(snapshot: HostsSnapshot) = guarded { receive(snapshot) }
}

internal fun directoryListener(receive: (DirectoryUpdate) -> Unit): DirectoryListener = object : DirectoryListener {
    override fun onDirectory(update: DirectoryUpdate) = guarded { receive(update) }
}

internal fun screenListener(receive: (ScreenUpdate) -> Unit): ScreenListener = object : ScreenListener {
    override fun onScreen(update: ScreenUpdate) = guarded { receive(update) }
}

internal fun timelineListener(receive: (TimelineUpdate) -> Unit): TimelineListener = object : TimelineListener {
    override fun onTimeline(update: TimelineUpdate) = guarded { receive(update) }
}

internal fun tableListener(receive: (TableUpdate) -> Unit): TableListener = object : TableListener {
    override fun onTable(update: TableUpdate) = guarded { receive(update) }
}

internal fun itemsListener(receive: (LogUpdate) -> Unit): ItemsListener = object : ItemsListener {
    override fun onItems(update: LogUpdate) = guarded { receive(update) }
}

/**
 * Revisions are the low 32 bits of the library's, so the newer one is less than half the range
 * ahead.
 */
internal fun newer(held: HostsSnapshot, update: HostsSnapshot): HostsSnapshot =
    // The value before the first update is older than all.
    if (held !== noHosts && (update.rev - held.rev).toInt() < 0) held else update

internal val noHosts: HostsSnapshot = HostsSnapshot(0u, emptyList(), emptyList())

/** Whether the first update has arrived, which takes milliseconds and no network. */
public val HostsSnapshot.isReady: Boolean get() = rev != 0u

/** Pause before what ended, and may succeed later, is subscribed to again. */
private val AGAIN = 500.milliseconds

/**
 * Collects again after a pause where that may help, as for the flows of [Bowline] that each collector subscribes to anew: the advice of
 * [SubscriptionEnded] or [BowlineException] is [Advice.TRY_AGAIN]. Any other failure ends the flow without throwing. [failures] has the
 * reason why nothing new comes, for as long as that is so.
 */
public fun <T> Flow<T>.retried(failures: MutableStateFlow<Throwable?>): Flow<T> =
    onEach { failures.value = null }
        .retryWhen { problem, _ ->
            val again = mayPass(problem)
            if (again) {
                failures.value = problem
                delay(AGAIN)
            }
            again
        }.catch { problem -> failures.value = problem }
