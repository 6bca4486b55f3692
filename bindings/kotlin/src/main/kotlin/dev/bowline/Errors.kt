package dev.bowline

/** The recommended action, for every kind of error. */
public val BowlineException.advice: Advice get() = parts().advice

/** Text for people. `message` has all members of the error, for logs. */
public val BowlineException.detail: String get() = parts().detail

/** The reason of the lost or refused connection, if one is concerned. */
public val BowlineException.reason: Reason? get() = parts().reason

/** Why the daemon refused the request, if it did. */
public val BowlineException.refusal: Refusal? get() = (this as? BowlineException.Rejected)?.refusal

/**
 * What an app may show for an advice, in English, as a whole sentence to the user; empty where the user has nothing to do. An app in
 * several languages has a string resource for each advice instead.
 */
public val Advice.text: String get() = adviceText(this)

/** Whether what failed may succeed a moment later, so that it is tried again: one rule for all that this library tries again. */
internal fun mayPass(problem: Throwable): Boolean = when (problem) {
    is SubscriptionEnded -> problem.advice == Advice.TRY_AGAIN
    is BowlineException -> problem.advice == Advice.TRY_AGAIN
    else -> false
}

private class Parts(val detail: String, val advice: Advice, val reason: Reason?)

private fun BowlineException.parts(): Parts =
    when (this) {
        is BowlineException.InvalidIdentity -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.InvalidOffer -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.NoPath -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Unreachable -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.PairingRefused -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Storage -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.CorruptStorage -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.StorageNotPrivate -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.UnknownHost -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.TooMany -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.InvalidIntent -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.InvalidQuery -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.OutboxFull -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Rejected -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Disconnected -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.TimedOut -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.NotConnected -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Cancelled -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.TooLarge -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.CorruptBlob -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Paused -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Closed -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Broken -> Parts(this.detail, this.advice, this.reason)
        is BowlineException.Internal -> Parts(this.detail, this.advice, this.reason)
    }
