package dev.bowline

import dev.bowline.ffi.DirectoryRow
import dev.bowline.ffi.DirectoryUpdate
import dev.bowline.ffi.ListChange
import dev.bowline.ffi.ScreenUpdate
import dev.bowline.ffi.TimelineItem
import dev.bowline.ffi.TimelineUpdate

/**
 * An update does not fit what is here. Thrown out of a callback it makes the library begin anew, with a whole list.
 */
internal class OutOfStep(base: UInt?, held: UInt) :
    IllegalStateException("an update of revision $base came to revision $held")

/**
 * Makes the next directory of an update. Neither side of this copies what did not change.
 *
 * @throws OutOfStep when the update is not for this one.
 */
internal fun Directory.with(update: DirectoryUpdate): Directory {
    val rows = rowsAt(update)
    return Directory(update.rev, rows, update.loading, update.hosts)
}

private fun Directory.rowsAt(update: DirectoryUpdate): List<DirectoryRow> {
    val base = update.baseRev
    if (base != null && base != rev) throw OutOfStep(base, rev)
    val byKey = LinkedHashMap<String, DirectoryRow>()
    if (base != null) {
        if (update.removed.isEmpty() && update.upserts.isEmpty() && update.order == null) return rows
        for (row in rows) byKey[row.key] = row
    }
    for (key in update.removed) byKey.remove(key)
    for (row in update.upserts) byKey[row.key] = row
    val order = update.order ?: return byKey.values.toList()
    return order.map { key -> byKey[key] ?: throw OutOfStep(base, rev) }
}

/**
 * Makes the next timeline of an update.
 *
 * @throws OutOfStep when the update is not for this one.
 */
internal fun Timeline.with(update: TimelineUpdate): Timeline {
    val base = update.baseRev
    if (base != null && base != rev) throw OutOfStep(base, rev)
    val before = if (base == null) Timeline.empty else this
    return Timeline(
        rev = update.rev,
        items = if (update.changes.isEmpty()) before.items else before.items.with(update.changes),
        pending = update.pending ?: before.pending,
        failed = update.failed ?: before.failed,
        loaded = update.loaded,
        catchingUp = update.catchingUp,
        older = update.older,
        newer = update.newer,
        replaced = update.replaced,
        error = update.error,
    )
}

private fun List<TimelineItem>.with(changes: List<ListChange>): List<TimelineItem> =
    changes.fold(Rows.of(this)) { items, change ->
        when (change) {
            is ListChange.Remove -> items.removed(change.at.toInt(), change.count.toInt())
            is ListChange.Insert -> items.inserted(change.at.toInt(), change.items)
            is ListChange.Update -> items.replaced(change.at.toInt(), change.item)
            is ListChange.Grow -> {
                val item = items[change.at.toInt()]
                items.replaced(change.at.toInt(), item.copy(text = item.text + change.text))
            }
        }
    }

/**
 * Makes the next screen of an update.
 *
 * @throws OutOfStep when the update's timeline is not for this one's.
 */
internal fun AgentScreen?.with(update: ScreenUpdate): AgentScreen = AgentScreen(
    rev = update.rev,
    serverId = update.serverId,
    agentId = update.agentId,
    agent = update.agent,
    creation = update.creation,
    creating = update.creating,
    creationFailed = update.creationFailed,
    overlay = update.overlay,
    toast = update.toast,
    placeholder = update.placeholder,
    errorIndicator = update.errorIndicator,
    composerEnabled = update.composerEnabled,
    readOnly = update.readOnly,
    connectivity = update.connectivity,
    connectionError = update.connectionError,
    timeline = (this?.timeline ?: Timeline.empty).with(update.timeline),
)
