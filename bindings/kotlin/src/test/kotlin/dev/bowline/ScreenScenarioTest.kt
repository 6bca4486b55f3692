package dev.bowline

import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.atomic.AtomicReference
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.filterNotNull
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** What a screen shows over a user's day, against the real daemon and relay. */
class ScreenScenarioTest {
    private fun open(folder: Folder, platform: PlatformObserver = PlatformObserver.none) =
        Bowline(config(folder.path), platform = platform)

    /** What a screen showed since it was opened. What [shows] returns is in [shown]: both see a state through the same collector. */
    private class Day(val shown: List<AgentScreen>, private val latest: Flow<AgentScreen>) {
        suspend fun shows(fits: (AgentScreen) -> Boolean) = latest.until(fits)
    }

    /** Records everything that a screen shows while the block runs. */
    private suspend fun day(screen: AgentScreenStore, block: suspend Day.() -> Unit) = coroutineScope {
        val shown = CopyOnWriteArrayList<AgentScreen>()
        val latest = MutableStateFlow<AgentScreen?>(null)
        val recording = launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) {
            screen.state.filterNotNull().collect {
                shown.add(it)
                latest.value = it
            }
        }
        Day(shown, latest.filterNotNull()).block()
        recording.cancel()
    }

    private suspend fun Bowline.offline() = hosts.until { it.hosts.isNotEmpty() && it.hosts.single().state != HostState.ONLINE }

    private suspend fun AgentScreenStore.shows(fits: (AgentScreen) -> Boolean) = state.filterNotNull().until(fits)

    /** Opens the screen once more, until it shows what it is to: UX-2. */
    private suspend fun reopen(bowline: Bowline, server: String, agent: String, fits: (AgentScreen) -> Boolean) {
        bowline.screen(server, agent).use { screen ->
            day(screen) {
                shows { ended(it) && fits(it) }
                assertTrue(shown.all { !it.overlay && ended(it) }, "an overlay, or no content, in $shown")
            }
        }
    }

    @Test
    fun `UX-1, UX-2 covered at the first open only, and not after a cut, a path switch or a restart of the daemon`() = runBlocking {
        World().use { world ->
            Folder().use { folder ->
                val first = open(folder)
                val server = first.pair(world.offer(0, 2)).serverId
                val agent = first.agent(server, folder)
                first.shutdown()

                // The app is started again, with no way to its host: the history was never loaded in this run.
                world.cut(0)
                world.cut(2)
                val bowline = open(folder)
                val screen = bowline.screen(server, agent)
                day(screen) {
                    shows { it.overlay }
                    world.heal(0)
                    shows { it.timeline.loaded && !it.overlay && ended(it) }
                    val covered = shown.takeWhile { !it.timeline.loaded }
                    assertTrue(covered.all { it.toast == null && !it.placeholder }, "something over or under an overlay")
                    val loaded = shown.indexOfFirst { it.timeline.loaded && ended(it) }

                    reopen(bowline, server, agent) { true }
                    world.heal(2)
                    world.cut(0)
                    bowline.online(Path.RELAY)
                    reopen(bowline, server, agent) { it.connectivity == Connectivity.ONLINE && it.toast == null }
                    world.order("""{"do":"kill_daemon"}""")
                    reopen(bowline, server, agent) { it.connectivity != Connectivity.ONLINE }
                    // It says that it is behind, while nothing can change that.
                    shows { it.toast != null || it.errorIndicator != null }
                    world.heal(0)
                    world.order("""{"do":"start_daemon"}""")
                    reopen(bowline, server, agent) { it.connectivity == Connectivity.ONLINE && it.toast == null }

                    shows { it.connectivity == Connectivity.ONLINE && it.toast == null && ended(it) }
                    val after = shown.drop(loaded)
                    assertTrue(after.all { !it.overlay && ended(it) }, "content that was there was covered or gone")
                    assertEquals(1, world.sessions())
                }
                bowline.shutdown()
            }
        }
    }

    @Test
    fun `UX-3 a message is shown at once, reconciled by its intent, and rolled back where it is refused`() = runBlocking {
        World().use { world ->
            Folder().use { folder ->
                val bowline = open(folder)
                val server = bowline.pair(world.offer(0)).serverId
                val agent = bowline.agent(server, folder)
                val screen = bowline.screen(server, agent)
                day(screen) {
                    shows { it.timeline.loaded && ended(it) }

                    // Held back, so that what is optimistic is seen.
                    world.cut(0)
                    bowline.offline()
                    val taken = screen.send("taken")
                    shows { state -> state.timeline.pending.map { it.intentId } == listOf(taken) }
                    world.heal(0)
                    shows { state -> ended(state) && state.timeline.items.any { it.intentId == taken } }
                    fun pending(state: AgentScreen) = state.timeline.pending.count { it.intentId == taken }
                    fun items(state: AgentScreen) = state.timeline.items.count { it.intentId == taken && it.kind == ItemKind.USER }
                    assertTrue(shown.all { pending(it) + items(it) <= 1 }, "a message is shown twice")
                    val since = shown.dropWhile { pending(it) == 0 }
                    assertTrue(since.isNotEmpty() && since.all { pending(it) + items(it) == 1 }, "a message was gone for a moment")

                    // The daemon takes no prompts for an agent that is archived.
                    world.cut(0)
                    bowline.offline()
                    bowline.send(server, Intent.Archive(agent))
                    val refused = screen.send("refused")
                    shows { state -> state.timeline.pending.any { it.intentId == refused } }
                    world.heal(0)
                    val rolled = shows { state -> state.timeline.failed.map { it.intentId } == listOf(refused) }
                    assertTrue(rolled.timeline.pending.isEmpty() && rolled.timeline.items.none { it.intentId == refused })
                    val failure = rolled.timeline.failed.single().failure
                    assertTrue(failure is IntentFailure.Refused && "archived" in failure.detail, "$failure")
                    screen.dismiss(refused)
                    shows { it.timeline.failed.isEmpty() }
                }
                bowline.shutdown()
            }
        }
    }

    @Test
    fun `a paused app refuses intents with a typed error, and goes on as the same session`() = runBlocking {
        World().use { world ->
            Folder().use { folder ->
                val target = AtomicReference<PlatformTarget>()
                val bowline = open(folder) { told -> target.set(told); AutoCloseable { } }
                val server = bowline.pair(world.offer(0)).serverId
                val agent = bowline.agent(server, folder)
                bowline.screen(server, agent).use { screen ->
                    target.get().pause()
                    val refused = assertThrows(BowlineException.Paused::class.java) { screen.send("asleep") }
                    assertEquals(Advice.WAIT, refused.advice)
                    target.get().resume()
                    val sent = screen.send("awake")
                    val done = screen.shows { state -> ended(state) && state.timeline.items.any { it.intentId == sent } }
                    assertTrue(done.timeline.items.none { it.text == "asleep" })
                    assertEquals(1, world.sessions())
                }
                bowline.shutdown()
            }
        }
    }

    @Test
    fun `DS-2 agents of two hosts are one list, and one host that is away takes nothing from it`() = runBlocking {
        World().use { world ->
            World().use { other ->
                Folder().use { folder ->
                    val bowline = open(folder)
                    val servers = listOf(world, other).map { bowline.pair(it.offer(0)).serverId }
                    val agents = servers.map { bowline.agent(it, folder) }
                    fun known(directory: Directory) = directory.rows.mapNotNull { it.agent?.id }
                    bowline.directory.until { known(it) == agents }
                    other.cut(0)
                    bowline.hosts.until { all -> all.hosts.any { it.serverId == servers[1] && it.state != HostState.ONLINE } }
                    bowline.refresh()
                    val still = bowline.directory.until { known(it) == agents }
                    assertFalse(still.loading)
                    assertEquals(servers, still.rows.map { it.serverId })
                    bowline.shutdown()
                }
            }
        }
    }

    @Test
    fun `a pairing that fails says why and what to do, and stores nothing`() = runBlocking {
        World().use { world ->
            Folder().use { folder ->
                Folder().use { elsewhere ->
                    val bowline = open(folder)
                    val offer = world.offer(0)
                    bowline.pair(offer)
                    val other = open(elsewhere)
                    val used = assertThrows(BowlineException.PairingRefused::class.java) { runBlocking { other.pair(offer) } }
                    assertEquals(Reason.PAIRING_TOKEN_INVALID to Advice.PAIR_AGAIN, used.reason to used.advice)
                    val unreachable = world.offer(1)
                    world.cut(1)
                    val nobody = assertThrows(BowlineException.Unreachable::class.java) { runBlocking { other.pair(unreachable) } }
                    assertEquals(Advice.TRY_AGAIN, nobody.advice)
                    assertTrue(nobody.reason != null)
                    other.shutdown()
                    assertTrue(elsewhere.file.resolve("profile.json").exists())
                    assertFalse(elsewhere.file.resolve("hosts.json").exists())
                    assertTrue(folder.file.resolve("hosts.json").exists())
                    bowline.shutdown()
                }
            }
        }
    }
}
