package dev.bowline

/**
 * The agents of all hosts in one list, as of one revision (DS-2). Rows keep their identity while they do not change.
 *
 * @property rev Grows with each change.
 * @property rows In display order.
 * @property loading Whether to show a skeleton: the list is empty and a first load is running.
 * @property hosts State of each host's part of the list.
 */
public data class Directory(
    public val rev: UInt,
    public val rows: List<DirectoryRow>,
    public val loading: Boolean,
    public val hosts: List<HostDirectory>,
) {
    /** Whether the first update has arrived, which takes milliseconds and no network. */
    public val isReady: Boolean get() = this !== empty

    public companion object {
        /** The value before the first update. */
        public val empty: Directory = Directory(0u, emptyList(), true, emptyList())
    }
}

/**
 * A row of a table.
 *
 * @property key Its key.
 * @property value Its value; null when it is too large to be sent, or is [unreadable].
 * @property omittedBytes The size of such a value in bytes.
 * @property unreadable Whether its service cannot read what is stored of it any more.
 * @property pending Whether the value is what an intent of this app is expected to make of it (LD-3).
 * @property failure Why the newest intent of this app that concerned the row failed, until it is dismissed.
 */
public data class Row<out T>(
    public val key: String,
    public val value: T?,
    public val omittedBytes: UInt?,
    public val unreadable: Boolean = false,
    public val pending: Boolean = false,
    public val failure: RowFailure? = null,
)

/**
 * Rows of a service's table, as of one revision. Rows keep their identity while they do not change.
 *
 * @property rev Grows with each change.
 * @property rows The first rows in order of key, without gaps.
 * @property state What to show besides them.
 * @property error Why they are not current.
 * @property more Rows after the last one; [Bowline.loadMoreRows] loads them.
 * @property truncated Whether the table has more rows than fit; those after the last one are left out.
 */
public data class Table<out T>(
    public val rev: UInt,
    public val rows: List<Row<T>>,
    public val state: TableState,
    public val error: LoadFailure?,
    public val more: MoreRows,
    public val truncated: Boolean,
) {
    /** Whether the first update has arrived, which takes milliseconds and no network. */
    public val isReady: Boolean get() = this !== empty

    public companion object {
        /** The value before the first update. */
        public val empty: Table<Nothing> =
            Table(0u, emptyList(), TableState.LOADING, null, MoreRows.None, false)
    }
}

/**
 * An item of a log.
 *
 * @property index Its place in the log, which no other item ever has; null for one that an intent is expected to add.
 * @property value Its value; null when it is too large to be sent, or is [unreadable].
 * @property omittedBytes The size of such a value in bytes.
 * @property unreadable Whether its service cannot read what is stored of it any more.
 * @property id What identifies it in its log for as long as it is shown.
 * @property pending Whether it is what an intent of this app is expected to add (LD-3).
 * @property failure Why the intent failed that was expected to add it, until it is dismissed.
 */
public data class LogItem<out T>(
    public val index: UInt?,
    public val value: T?,
    public val omittedBytes: UInt? = null,
    public val unreadable: Boolean = false,
    public val id: String = "$index",
    public val pending: Boolean = false,
    public val failure: RowFailure? = null,
    /** The JSON of a value that may grow, and the member that does. */
    internal val json: String? = null,
    internal val growing: String? = null,
)

/**
 * The newest items of a service's log, as of one revision. Items keep their identity while they do not change.
 *
 * @property rev Grows with each change.
 * @property items The newest items, oldest first. One that is fetched, because it was too large for an event, is missing meanwhile.
 * @property state What to show besides them.
 * @property error Why they are not current.
 * @property older Items before the first one; [Bowline.loadOlderItems] loads them.
 * @property truncated Whether the daemon has older items than fit; they are left out.
 * @property first Index of the oldest item that the daemon keeps, as far as known.
 * @property next Index of the next item, as far as known.
 */
public data class Log<out T>(
    public val rev: UInt,
    public val items: List<LogItem<T>>,
    public val state: TableState,
    public val error: LoadFailure?,
    public val older: MoreRows,
    public val truncated: Boolean,
    public val first: UInt,
    public val next: UInt,
) {
    /** Whether the first update has arrived, which takes milliseconds and no network. */
    public val isReady: Boolean get() = this !== empty

    public companion object {
        /** The value before the first update. */
        public val empty: Log<Nothing> =
            Log(0u, emptyList(), TableState.LOADING, null, MoreRows.None, false, 0u, 0u)
    }
}

/**
 * One agent's timeline, as of one revision. Items keep their identity while they do not change.
 *
 * @property rev Grows with each change.
 * @property items Oldest first.
 * @property pending Messages being sent, shown after the items (UX-3).
 * @property failed Messages whose delivery failed; shown until dismissed.
 * @property loaded Whether a load ever succeeded (UX-1).
 * @property catchingUp Whether it is being refreshed (UX-2).
 * @property older Content before the first item.
 * @property newer Content after the last item: a view that grew too long at its beginning drops
 *   rows at its end.
 * @property replaced Grows when the daemon turns out to have another timeline under this name: a view's scroll position
 *   means nothing then.
 * @property error Why it may be stale (UX-4).
 */
public data class Timeline(
    public val rev: UInt,
    public val items: List<TimelineItem>,
    public val pending: List<PendingMessage>,
    public val failed: List<FailedMessage>,
    public val loaded: Boolean,
    public val catchingUp: Boolean,
    public val older: Older,
    public val newer: Newer,
    public val replaced: UInt,
    public val error: LoadFailure?,
) {
    /** Whether the first update has arrived, which takes milliseconds and no network. */
    public val isReady: Boolean get() = this !== empty

    public companion object {
        /** The value before the first update. */
        public val empty: Timeline =
            Timeline(0u, emptyList(), emptyList(), emptyList(), false, false, Older.None, Newer.None, 0u, null)
    }
}

/**
 * The content of an agent's screen. The library decides it (UX-1 to UX-4); a view renders it.
 *
 * @property rev Grows with each change.
 * @property serverId The agent's host.
 * @property agentId The agent; null until the daemon has confirmed the one being created.
 * @property agent Its row in the directory, once loaded.
 * @property creation Origin of the agent.
 * @property creating The agent as requested, while it is being created.
 * @property creationFailed Why its creation failed, with the agent as requested.
 * @property overlay An overlay covers the whole content (UX-1).
 * @property toast At most one toast.
 * @property placeholder Show the hint "Start chatting".
 * @property errorIndicator At most one error.
 * @property composerEnabled Prompts can be typed and sent, also offline.
 * @property readOnly Why no prompt can be sent any more; shown in place of the composer.
 * @property connectivity State of the host.
 * @property connectionError Why the host is not online, with the recommended action.
 * @property timeline The content.
 */
public data class AgentScreen(
    public val rev: UInt,
    public val serverId: String,
    public val agentId: String?,
    public val agent: AgentSummary?,
    public val creation: Creation,
    public val creating: PendingAgent?,
    public val creationFailed: FailedAgent?,
    public val overlay: Boolean,
    public val toast: Toast?,
    public val placeholder: Boolean,
    public val errorIndicator: ErrorIndicator?,
    public val composerEnabled: Boolean,
    public val readOnly: ReadOnly?,
    public val connectivity: Connectivity,
    public val connectionError: ErrorInfo?,
    public val timeline: Timeline,
)
