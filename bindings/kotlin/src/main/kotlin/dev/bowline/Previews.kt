package dev.bowline

import kotlinx.coroutines.flow.Flow

/** The artificial hosts, for previews and tests. */
public fun PreviewData.hosts(): Flow<HostsSnapshot> =
    folded(noHosts, ::newer) { receive -> subscribeHosts(hostsListener(receive)) }

/** The artificial timeline, for previews and tests. */
public fun PreviewData.timeline(): Flow<Timeline> =
    folded(Timeline.empty, Timeline::with) { receive -> subscribeTimeline(timelineListener(receive)) }

/** The screen of the artificial timeline's agent, in the moment of [PreviewData.showScreen]. */
public fun PreviewData.screen(serverId: String = "srv", agentId: String = "agt"): Flow<AgentScreen?> =
    folded(null, AgentScreen?::with) { receive -> subscribeScreen(serverId, agentId, screenListener(receive)) }

/** Rows of an artificial table, from [PreviewData.showTable]. [decode] is that of the view's real table. */
public fun <T> PreviewData.table(name: String, decode: (String) -> T): Flow<Table<T>> =
    folded<TableUpdate, Table<T>>(Table.empty, { held, update -> held.with(update, decode) }) { receive ->
        subscribeTable(name, tableListener(receive))
    }

/** Items of an artificial log, from [PreviewData.showLog]. [decode] is that of the view's real log. */
public fun <T> PreviewData.log(name: String, decode: (String) -> T): Flow<Log<T>> {
    val reader = ItemReader(decode, null)
    return folded<LogUpdate, Log<T>>(Log.empty, { held, update -> held.with(update, reader) }) { receive ->
        subscribeLog(name, itemsListener(receive))
    }
}
