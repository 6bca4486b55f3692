package dev.bowline

import dev.bowline.ffi.AgentSummary
import dev.bowline.ffi.Connectivity
import dev.bowline.ffi.Creation
import dev.bowline.ffi.DirectoryRow
import dev.bowline.ffi.ErrorIndicator
import dev.bowline.ffi.ErrorInfo
import dev.bowline.ffi.FailedAgent
import dev.bowline.ffi.FailedMessage
import dev.bowline.ffi.HostDirectory
import dev.bowline.ffi.LoadFailure
import dev.bowline.ffi.Newer
import dev.bowline.ffi.Older
import dev.bowline.ffi.PendingAgent
import dev.bowline.ffi.PendingMessage
import dev.bowline.ffi.ReadOnly
import dev.bowline.ffi.TimelineItem
import dev.bowline.ffi.Toast

/**
 * The agents of all hosts in one list, as of one revision (DS). Rows keep their identity while they do not change.
 *
 * @property rev Grows with every change.
 * @property rows In the order in which to show them.
 * @property loading Show a skeleton: there is nothing yet, and a first load runs somewhere.
 * @property hosts How each host's part of the list stands.
 */
public data class Directory(
    public val rev: UInt,
    public val rows: List<DirectoryRow>,
    public val loading: Boolean,
    public val hosts: List<HostDirectory>,
) {
    public companion object {
        /** What is known before anything is. */
        public val empty: Directory = Directory(0u, emptyList(), false, emptyList())
    }
}

/**
 * One agent's timeline, as of one revision. Items keep their identity while they do not change.
 *
 * @property rev Grows with every change.
 * @property items Oldest first.
 * @property pending Messages on their way, shown after the items (UX-3).
 * @property failed Messages that were not taken; shown until dismissed.
 * @property loaded Whether a load ever succeeded (UX-1).
 * @property catchingUp Whether it is being brought up to date (UX-2).
 * @property older What is before the first item.
 * @property newer What is after the last item: a view that grew too long at its beginning has lost rows at its end.
 * @property replaced Grows when the daemon turns out to have another timeline under this name: a view's scroll position
 *   means nothing then.
 * @property error Why it is not up to date (UX-4).
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
    public companion object {
        /** What is known before anything is. */
        public val empty: Timeline =
            Timeline(0u, emptyList(), emptyList(), emptyList(), false, false, Older.None, Newer.None, 0u, null)
    }
}

/**
 * Everything an agent's screen shows. The library decides it (UX-1 to UX-4); a view renders it.
 *
 * @property rev Grows with every change.
 * @property serverId Whose agent.
 * @property agentId The agent; null until the daemon has named the one that is being created.
 * @property agent Its row in the directory, once that is known.
 * @property creation Whether it was created from here.
 * @property creating What was asked for, while it is being created.
 * @property creationFailed Why it could not be created, with what was asked for.
 * @property overlay The whole content is covered (UX-1).
 * @property toast At most one toast.
 * @property placeholder "Start chatting".
 * @property errorIndicator At most one error.
 * @property composerEnabled Prompts can be typed and sent; offline too.
 * @property readOnly Why no prompt can be sent any more; to be said in the place of the composer.
 * @property connectivity How the host stands.
 * @property connectionError Why the host is not online, with what to do about it.
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
