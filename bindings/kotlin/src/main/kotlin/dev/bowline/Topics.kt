package dev.bowline

import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.channels.Channel.Factory.CONFLATED
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.launch

/**
 * Events that wait for a slow collector; a batch without any counts as one. With more, the oldest are dropped and the next batch is
 * marked.
 */
internal const val MOST_WAITING: Int = 4_096

/** Characters of their JSON; at the bound as with [MOST_WAITING]. */
internal const val MOST_WAITING_CHARS: Int = 8 shl 20

/**
 * An event of a topic.
 *
 * @property key What it is about.
 * @property body Its body.
 * @property intentId The intent that caused it, whoever sent that.
 */
public data class TopicEvent<out T>(
    public val key: String,
    public val body: T,
    public val intentId: String?,
)

/**
 * The next events of a topic. No batch replaces another.
 *
 * @property missed Events may be missing between those of the batch before and those of this one: load what they are about again.
 * @property events In order. None if only the rest is news.
 * @property state What to show besides them. From `FOLLOWING` on, every event arrives.
 * @property error Why the topic is not followed.
 */
public data class TopicBatch<out T>(
    public val missed: Boolean,
    public val events: List<TopicEvent<T>>,
    public val state: TopicState,
    public val error: LoadFailure?,
)

internal fun <T> TopicUpdate.decoded(decode: (String) -> T): TopicBatch<T> =
    TopicBatch(missed, events.map { TopicEvent(it.key, decode(it.json), it.intentId) }, state, error)

/** Batches between the library's thread and a collector. */
internal class Waiting<T> {
    private val batches = ArrayDeque<Pair<TopicBatch<T>, Int>>()
    private var events = 0
    private var chars = 0

    /** What a batch counts as. One that only tells a state is kept as well, so it counts too. */
    private fun count(batch: TopicBatch<T>) = maxOf(1, batch.events.size)

    @Synchronized
    fun add(batch: TopicBatch<T>, size: Int) {
        batches.addLast(batch to size)
        events += count(batch)
        chars += size
        while ((events > MOST_WAITING || chars > MOST_WAITING_CHARS) && batches.size > 1) {
            take()
            val (next, length) = batches.removeFirst()
            batches.addFirst(next.copy(missed = true) to length)
        }
    }

    @Synchronized
    fun take(): TopicBatch<T>? {
        val (batch, size) = batches.removeFirstOrNull() ?: return null
        events -= count(batch)
        chars -= size
        return batch
    }
}

/**
 * The batches of a listener, every one and in order. Each collector has its own subscription, which ends with it.
 *
 * @param decode The body of an event from its JSON; runs on the library's thread.
 * @throws SubscriptionEnded to the collector, when the library ended it.
 */
internal fun <T> batches(
    decode: (String) -> T,
    subscribe: (receive: (TopicUpdate) -> Unit) -> Subscription,
): Flow<TopicBatch<T>> = flow {
    Library.load()
    val waiting = Waiting<T>()
    val news = callbackFlow {
        val closed = AtomicBoolean()
        val subscription = subscribe { update ->
            // One call may still be running after the end.
            if (!closed.get()) {
                waiting.add(update.decoded(decode), update.events.sumOf { it.json.length })
                trySend(Unit)
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
    }
    // The batches wait elsewhere, so one piece of news stands for any number of them.
    news.buffer(CONFLATED).collect {
        while (true) emit(waiting.take() ?: break)
    }
}

internal fun topicListener(receive: (TopicUpdate) -> Unit): TopicListener = object : TopicListener {
    override fun onTopic(update: TopicUpdate) = guarded { receive(update) }
}
