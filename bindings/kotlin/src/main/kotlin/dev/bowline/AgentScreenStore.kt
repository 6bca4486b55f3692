package dev.bowline

import dev.bowline.ffi.Advice
import dev.bowline.ffi.BowlineException
import dev.bowline.ffi.EndReason
import dev.bowline.ffi.Intent
import dev.bowline.ffi.ScreenTarget
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.SharingStarted
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.retryWhen
import kotlinx.coroutines.flow.stateIn
import kotlinx.coroutines.job
import kotlin.time.Duration.Companion.milliseconds

/** Pause before a screen is opened again that the library had no room for. */
private val AGAIN = 500.milliseconds

/** Whether a screen could not be opened for want of room, which there may be later. */
private fun passes(problem: Throwable): Boolean = when (problem) {
    is SubscriptionEnded -> problem.reason == EndReason.BUSY || problem.reason == EndReason.TOO_MANY
    else -> problem is BowlineException.TooMany
}

/**
 * What one agent's screen shows, and what its user can do there. Belongs to the view, or to its view model, and is closed
 * with it: `store.use { … }`, or in `onCleared`.
 */
public class AgentScreenStore internal constructor(
    private val bowline: Bowline,
    private val serverId: String,
    target: ScreenTarget,
) : AutoCloseable {
    private val scope = CoroutineScope(bowline.scope.coroutineContext + SupervisorJob(bowline.scope.coroutineContext.job))
    private val failures = MutableStateFlow<Throwable?>(null)

    /**
     * What to show; null until the library has said so for the first time, which takes milliseconds and no network. Subscribed for as
     * long as somebody collects, and five seconds more.
     */
    public val state: StateFlow<AgentScreen?> =
        folded(null, AgentScreen?::with) { receive ->
            bowline.call { subscribeScreen(serverId, target, screenListener(receive)) }
        }.onEach { failures.value = null }
            .retryWhen { problem, _ ->
                val again = passes(problem)
                if (again) {
                    failures.value = problem
                    delay(AGAIN)
                }
                again
            }.catch { problem -> failures.value = problem }
            .stateIn(scope, SharingStarted.WhileSubscribed(KEPT_MS), null)

    /**
     * Why the screen shows nothing new: a [SubscriptionEnded] (its host was forgotten), a [BowlineException] (there is no such host,
     * or too many screens are open, which is tried again). Null while all is well.
     */
    public val failure: StateFlow<Throwable?> = failures.asStateFlow()

    /**
     * Sends a prompt: shown at once, with a pending mark (UX-3). Returns the intent's id.
     *
     * @throws BowlineException when it cannot be kept, or there is no agent yet.
     */
    public fun send(text: String): String = bowline.send(serverId, Intent.SendPrompt(agent(), text))

    /** Ends the running turn. Returns the intent's id; throws as [send]. */
    public fun cancelTurn(): String = bowline.send(serverId, Intent.Cancel(agent()))

    /** Answers a permission with one of its options. Returns the intent's id; throws as [send]. */
    public fun respond(permissionId: String, optionId: String): String =
        bowline.send(serverId, Intent.Respond(agent(), permissionId, optionId))

    /** Fetches the page before the oldest item; it is in a next value, and `timeline.older` says how that goes. */
    public fun loadOlder(): Unit = bowline.loadOlder(serverId, agent())

    /** Fetches the page after the last item, where that is not the newest ([Timeline.newer]). */
    public fun loadNewer(): Unit = bowline.loadNewer(serverId, agent())

    /** Shows the newest items, wherever the view was. */
    public fun jumpToNewest(): Unit = bowline.jumpToNewest(serverId, agent())

    /** Tries again at once to load the history, after that failed. */
    public fun reload(): Unit = bowline.reload(serverId, agent())

    /** The user has seen that a message or the creation failed: it is shown no more. */
    public fun dismiss(intentId: String): Unit = bowline.dismiss(serverId, intentId)

    private val named: String? = (target as? ScreenTarget.Agent)?.agentId

    private fun agent(): String = named ?: state.value?.agentId
        ?: throw BowlineException.InvalidIdentity(
            "the agent is still being created",
            Advice.WAIT,
            null,
        )

    /** Lets go of the screen. Any number of times. */
    override fun close(): Unit = scope.cancel()
}
