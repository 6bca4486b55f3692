package dev.bowline.voxel

import dev.bowline.Bowline
import dev.bowline.BowlineException
import dev.bowline.HostSnapshot
import dev.bowline.Log
import dev.bowline.OfferInfo
import dev.bowline.Pairing
import dev.bowline.Row
import dev.bowline.Table
import dev.bowline.retried
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.SharingStarted
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.combine
import kotlinx.coroutines.flow.distinctUntilChanged
import kotlinx.coroutines.flow.flatMapLatest
import kotlinx.coroutines.flow.flowOf
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.onStart
import kotlinx.coroutines.flow.stateIn
import kotlinx.coroutines.launch

/** A pairing link that the user has to confirm. */
data class Offer(val link: String, val info: OfferInfo)

/**
 * Everything that the app shows, in one value: a view is a function of it.
 *
 * @property host The paired computer; null before there is one.
 * @property pairings Codes to compare while the computer's owner is asked.
 * @property chosen The project whose layers and edits are shown.
 * @property problem Why the library took nothing of what the user did last.
 */
data class VoxelScreen(
    val host: HostSnapshot? = null,
    val pairings: List<Pairing> = emptyList(),
    val offer: Offer? = null,
    val chosen: String? = null,
    val projects: Live<Table<Project>> = Live(Table.empty),
    val layers: Live<Table<Layer>> = Live(Table.empty),
    val edits: Live<Log<Edit>> = Live(Log.empty),
    val problem: BowlineException? = null,
)

/** The newest value of a list, and why no newer one comes, if so. */
data class Live<out T>(val value: T, val failure: Throwable? = null)

/**
 * What the app shows and does. On Android it extends `ViewModel`, with its `viewModelScope` as [scope], and the one [Bowline] of the
 * process: nothing here connects, and nothing is lost when the process ends, since the library keeps what was sent.
 */
class VoxelModel(private val bowline: Bowline, private val scope: CoroutineScope) {
    private val chosen = MutableStateFlow<String?>(null)
    private val offer = MutableStateFlow<Offer?>(null)
    private val problem = MutableStateFlow<BowlineException?>(null)

    /** The first host: this app pairs with one. */
    private val server: Flow<String?> = bowline.hosts.map { it.hosts.firstOrNull()?.serverId }.distinctUntilChanged()

    private val projects = followed(server, Table.empty) { server ->
        bowline.table(server, PROJECTS) { json.decodeFromString<Project>(it) }
    }

    /** The computer and the chosen project: layers and edits are followed for these. */
    private val place = combine(server, chosen) { server, project -> server?.let { id -> project?.let { Place(id, it) } } }
        .distinctUntilChanged()

    private val layers = followed(place, Table.empty) { (server, project) ->
        bowline.table(server, LAYERS, of(project)) { json.decodeFromString<Layer>(it) }
    }

    private val edits = followed(place, Log.empty) { (server, project) ->
        bowline.log(server, EDITS, of(project)) { json.decodeFromString<Edit>(it) }
    }

    /** The newest screen. While nobody collects it, nothing is followed. */
    val screen: StateFlow<VoxelScreen> = combine(
        combine(bowline.hosts, offer, chosen, problem) { hosts, offer, chosen, problem ->
            VoxelScreen(hosts.hosts.firstOrNull(), hosts.pairings, offer, chosen, problem = problem)
        },
        projects, layers, edits,
    ) { frame, projects, layers, edits -> frame.copy(projects = projects, layers = layers, edits = edits) }
        .stateIn(scope, SharingStarted.WhileSubscribed(5_000), VoxelScreen())

    /** Reads a pairing link; the user sees whose it is before [pair]. */
    fun inspect(link: String) = attempt { offer.value = Offer(link, bowline.inspectOffer(link)) }

    /** Pairs with the computer of the confirmed link. Its owner is asked meanwhile. */
    fun pair() {
        val confirmed = offer.value ?: return
        // Another link may have been read meanwhile.
        scope.launch { attempt { bowline.pair(confirmed.link); offer.compareAndSet(confirmed, null) } }
    }

    fun choose(project: String) {
        chosen.value = project
    }

    fun create(project: String) = send(createProject(project))

    fun add(layer: String) = inProject { send(addLayer(it, layer)) }

    fun rename(layer: Layer, to: String) = inProject { send(renameLayer(it, layer, to)) }

    fun paint(layer: Layer, colour: Colour) = inProject { send(paintLayer(it, layer, colour)) }

    fun remove(layer: String) = inProject { send(removeLayer(it, layer)) }

    /** The user has seen why the change of a row failed. */
    fun dismiss(row: Row<*>) = attempt { row.failure?.let { bowline.dismiss(server(), it.intentId) } }

    /** Loads the layers after the last one; the screen has the progress. */
    fun loadMoreLayers() = inProject { attempt { bowline.loadMoreRows(server(), LAYERS, of(it)) } }

    /** Loads the edits before the oldest one; the screen has the progress. */
    fun loadOlderEdits() = inProject { attempt { bowline.loadOlderItems(server(), EDITS, of(it)) } }

    /** The rows have it at once, pending; the library does the rest, also after a restart of the app. */
    private fun send(change: Change) = attempt { bowline.send(server(), change.intent, change.shows) }

    private fun server(): String = screen.value.host?.serverId.orEmpty()

    private inline fun inProject(work: (String) -> Unit) {
        chosen.value?.let(work)
    }

    private inline fun attempt(work: () -> Unit) {
        problem.value = try {
            work()
            null
        } catch (refused: BowlineException) {
            refused
        }
    }

    private data class Place(val server: String, val project: String)

    /** What is followed for the newest key, from its first value on; nothing without a key. */
    @OptIn(ExperimentalCoroutinesApi::class)
    private fun <K : Any, T> followed(key: Flow<K?>, empty: T, follow: (K) -> Flow<T>): Flow<Live<T>> =
        key.flatMapLatest { at ->
            if (at == null) return@flatMapLatest flowOf(Live(empty))
            val failures = MutableStateFlow<Throwable?>(null)
            val values = follow(at).retried(failures).onStart { emit(empty) }
            combine(values, failures, ::Live)
        }
}
