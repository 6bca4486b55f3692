package dev.bowline.voxel

import dev.bowline.Advice
import dev.bowline.HostSnapshot
import dev.bowline.HostState
import dev.bowline.IntentFailure
import dev.bowline.LoadFailure
import dev.bowline.OfferHost
import dev.bowline.OfferInfo
import dev.bowline.Row
import dev.bowline.TableState
import dev.bowline.text

/** Every text of the app. On Android these are string resources, one for each case: `detail` of the library and the service is English. */
object Texts {
    fun connection(host: HostSnapshot): String {
        val error = host.lastError?.advice?.let(::advice).orEmpty()
        if (host.state == HostState.ONLINE) return "${host.name}: connected over ${host.address ?: "a path"}"
        return "${host.name}: connecting" + if (error.isEmpty()) "" else " ($error)"
    }

    /** What the user can do; empty if nothing. */
    fun advice(advice: Advice): String = advice.text

    fun offer(info: OfferInfo): String = when (info.host) {
        is OfferHost.OtherKey ->
            "This link names a computer that you know, but with another key. Ask its owner before you trust it."
        else -> "Pair with ${info.name} at ${info.addresses.joinToString { it.address }}?"
    }

    fun code(code: String): String = "Compare this code on the computer: $code"

    /** What stands beside rows, or in their place; null where the rows alone say it. */
    fun state(state: TableState, error: LoadFailure?, isEmpty: Boolean, none: String): String? = when (state) {
        TableState.READY, TableState.REVALIDATING -> null
        TableState.EMPTY -> none
        TableState.STALE -> (if (isEmpty) "$none " else "") + "May be outdated until the computer is back."
        TableState.LOADING -> if (isEmpty) "Loading" else null
        TableState.FAILED -> "Cannot be loaded yet; it is tried again."
        TableState.REFUSED -> "The computer refuses this list: $error"
    }

    /** A value that did not come. */
    fun unshown(unreadable: Boolean): String = if (unreadable) "the computer cannot read it" else "too large to be shown"

    fun mark(row: Row<*>): String {
        val reason = row.failure?.reason
        return when {
            reason is IntentFailure.Refused -> " (refused: ${reason.detail})"
            reason != null -> " (the computer was away for too long: look whether it was done)"
            row.pending -> " (pending)"
            else -> ""
        }
    }

    fun layer(layer: Layer): String = "${layer.name}: ${layer.colour.value}, ${layer.voxels} voxels"

    fun edit(edit: Edit): String = when (edit.kind) {
        Kind.Added -> "${edit.layer} was added"
        Kind.Removed -> "${edit.layer} was removed"
        Kind.Renamed -> "${edit.layer} is now ${edit.to}"
        Kind.Painted -> "${edit.layer} has ${edit.voxels} more voxels"
    }
}
