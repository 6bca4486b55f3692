package dev.bowline

/**
 * An update for another list than the held one. Thrown from a callback, it makes the library send
 * the whole list.
 */
internal class OutOfStep(misfit: String?) : IllegalStateException(misfit)

/**
 * Applies the changes; insertions and replacements take [rows] in order, and [grow] appends to the text of a row. The result shares
 * unchanged pages of rows with this list.
 *
 * @throws OutOfStep when a position is outside of the list.
 */
internal fun <T> List<T>.with(
    changes: List<ListChange>,
    rows: List<T>,
    grow: (T, String) -> T = { _, _ -> throw OutOfStep("rows of this list do not grow") },
): List<T> {
    if (changes.isEmpty()) return this
    var used = 0
    return try {
        changes.fold(Rows.of(this)) { list, change ->
            when (change) {
                is ListChange.Remove -> list.removed(change.at.toInt(), change.count.toInt())
                is ListChange.Insert -> {
                    val from = used
                    used += change.count.toInt()
                    list.inserted(change.at.toInt(), rows.subList(from, used))
                }
                is ListChange.Update -> list.replaced(change.at.toInt(), rows[used++])
                is ListChange.Grow -> list.replaced(change.at.toInt(), grow(list[change.at.toInt()], change.text))
            }
        }
    } catch (misfit: IndexOutOfBoundsException) {
        throw OutOfStep(misfit.message)
    }
}

/**
 * Applies an update to this table; the value of each new row is decoded here, once.
 *
 * @throws OutOfStep when the update is not for this one.
 */
internal fun <T> Table<T>.with(update: TableUpdate, decode: (String) -> T): Table<T> {
    val before = ifAt(rev, update.baseRev, Table.empty)
    val rows = update.rows.map { row ->
        val value = if (row.omittedBytes == null) decode(row.json) else null
        Row(row.key, value, row.omittedBytes, row.unreadable, row.pending, row.failure)
    }
    return Table(update.rev, before.rows.with(update.changes, rows), update.state, update.error, update.more, update.truncated)
}

/** How values of a log are made: decoded once for each revision, and extended by text. */
internal class ItemReader<T>(
    private val decode: (String) -> T,
    /** Extends a value by text; without it, a value that grew is decoded anew. */
    private val grow: ((T, String) -> T)?,
) {
    fun item(row: JsonItem): LogItem<T> {
        val value = if (row.omittedBytes == null) decode(row.json) else null
        // Nothing is kept for what needs no decoding any more.
        val json = if (grow == null && row.growing != null) row.json else null
        return LogItem(row.index, value, row.omittedBytes, row.unreadable, row.id, row.pending, row.failure, json, row.growing)
    }

    fun grown(item: LogItem<T>, text: String): LogItem<T> {
        val growing = item.growing ?: throw OutOfStep("item ${item.index} does not grow")
        val value = item.value ?: return item
        if (grow != null) return item.copy(value = grow.invoke(value, text))
        val json = grownJson(item.json.orEmpty(), growing, text)
        return item.copy(value = decode(json), json = json)
    }
}

/**
 * Applies an update to this log; the value of each new item is decoded here, once.
 *
 * @throws OutOfStep when the update is not for this one.
 */
internal fun <T> Log<T>.with(update: LogUpdate, reader: ItemReader<T>): Log<T> {
    val before = ifAt(rev, update.baseRev, Log.empty)
    val items = before.items.with(update.changes, update.rows.map(reader::item), reader::grown)
    return update.run { Log(rev, items, state, error, older, truncated, first, next) }
}

/** The value that an update with this base applies to: this one, or an empty one without a base. */
private fun <T> T.ifAt(rev: UInt, base: UInt?, empty: T): T = when (base) {
    null -> empty
    rev -> this
    else -> throw OutOfStep("an update of revision $base came to revision $rev")
}

/**
 * Applies an update to this directory.
 *
 * @throws OutOfStep when the update is not for this one.
 */
internal fun Directory.with(update: DirectoryUpdate): Directory {
    val before = ifAt(rev, update.baseRev, Directory.empty)
    return Directory(update.rev, before.rows.with(update.changes, update.rows), update.loading, update.hosts)
}

/**
 * Applies an update to this timeline.
 *
 * @throws OutOfStep when the update is not for this one.
 */
internal fun Timeline.with(update: TimelineUpdate): Timeline {
    val before = ifAt(rev, update.baseRev, Timeline.empty)
    return Timeline(
        rev = update.rev,
        items = before.items.with(update.changes, update.rows) { item, more -> item.copy(text = item.text + more) },
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

/**
 * Applies an update to this screen.
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
