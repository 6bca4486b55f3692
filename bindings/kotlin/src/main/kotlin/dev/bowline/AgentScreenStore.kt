package dev.bowline

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.SharingStarted
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.stateIn
import kotlinx.coroutines.job

/**
 * The content and the actions of one agent's screen. It belongs to the view or its view model, and
 * is closed with it: `store.use { … }`, or in `onCleared`.
 */
public class AgentScreenStore internal constructor(
    private val bowline: Bowline,
    private val serverId: String,
    target: ScreenTarget,
) : AutoCloseable {
    private val scope = CoroutineScope(bowline.scope.coroutineContext + SupervisorJob(bowline.scope.coroutineContext.job))
    private val failures = MutableStateFlow<Throwable?>(null)

    /**
     * The screen; null until the first update, which takes milliseconds and no network. Subscribed
     * while it has collectors, and for five more seconds.
     */
    public val state: StateFlow<AgentScreen?> =
        folded(null, AgentScreen?::with) { receive ->
            bowline.call { subscribeScreen(serverId, target, screenListener(receive)) }
        }.retried(failures).stateIn(scope, SharingStarted.WhileSubscribed(KEPT_MS), null)

    /**
     * Why updates stopped: a [SubscriptionEnded] (its host was forgotten) or a [BowlineException] (the
     * host is unknown, or the limit of open screens is reached, which is retried). Null while they
     * continue.
     */
    public val failure: StateFlow<Throwable?> = failures.asStateFlow()

    /**
     * Sends a prompt: shown at once, with a pending mark (UX-3). Returns the intent's id.
     *
     * @throws BowlineException when it cannot be stored, or there is no agent yet.
     */
    public fun send(text: String): String = bowline.send(serverId, Intent.SendPrompt(agent(), text))

    /** Ends the running turn. Returns the intent's id; throws as [send]. */
    public fun cancelTurn(): String = bowline.send(serverId, Intent.Cancel(agent()))

    /**
     * Answers a permission request with one of its options. Returns the intent's id; throws as
     * [send].
     */
    public fun respond(permissionId: String, optionId: String): String =
        bowline.send(serverId, Intent.Respond(agent(), permissionId, optionId))

    /**
     * Loads the page before the oldest item; a later value has the result, and `timeline.older` the
     * progress.
     */
    public fun loadOlder(): Unit = bowline.loadOlder(serverId, agent())

    /** Loads the page after the last item, unless that is the newest ([Timeline.newer]). */
    public fun loadNewer(): Unit = bowline.loadNewer(serverId, agent())

    /** Moves the view to the newest items. */
    public fun jumpToNewest(): Unit = bowline.jumpToNewest(serverId, agent())

    /** Retries a failed load of the history at once. */
    public fun reload(): Unit = bowline.reload(serverId, agent())

    /** Dismisses a failed message or creation, so that it is no longer shown. */
    public fun dismiss(intentId: String): Unit = bowline.dismiss(serverId, intentId)

    private val named: String? = (target as? ScreenTarget.Agent)?.agentId

    private fun agent(): String = named ?: state.value?.agentId
        ?: throw BowlineException.InvalidIdentity(
            "the agent is still being created",
            Advice.WAIT,
            null,
        )

    /** Closes the screen. May be called repeatedly. */
    override fun close(): Unit = scope.cancel()
}
