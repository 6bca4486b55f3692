package dev.bowline

import java.time.Instant
import java.util.concurrent.atomic.AtomicReference
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.filterNotNull
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** What an app must show when a daemon refuses this device, or is not the one it was: the reason, and what to do. */
class TrustTest {
    /** An app, and its platform. */
    private class App(folder: Folder) : AutoCloseable {
        private val target = AtomicReference<PlatformTarget>()
        val bowline = Bowline(config(folder.path), platform = { told -> target.set(told); AutoCloseable { } })

        /** The user leaves the app and comes back. */
        fun comesBack() {
            target.get().tell(PlatformEvent.BACKGROUND)
            target.get().tell(PlatformEvent.FOREGROUND)
        }

        suspend fun host(fits: (HostSnapshot) -> Boolean) =
            bowline.hosts.until { it.hosts.size == 1 && fits(it.hosts.single()) }.hosts.single()

        /** The error with which the host waits for somebody to act. */
        suspend fun refusal() = host { it.state == HostState.ERROR }.lastError!!

        override fun close() = bowline.close()
    }

    /** Runs a story with a daemon and an app. */
    private fun story(block: suspend Story.() -> Unit) = World().use { world ->
        Folder().use { folder -> App(folder).use { app -> runBlocking { Story(world, folder, app, this).block() } } }
    }

    private class Story(val world: World, val folder: Folder, val app: App, scope: CoroutineScope) : CoroutineScope by scope {
        val bowline = app.bowline
    }

    private fun assertSays(reason: Reason, advice: Advice, error: ErrorInfo?) {
        assertEquals(reason to advice, error?.reason to error?.advice)
        assertTrue(error!!.detail.isNotEmpty())
    }

    private fun refused(reason: Reason, advice: Advice, pair: suspend () -> Unit): BowlineException.PairingRefused {
        val error = assertThrows(BowlineException.PairingRefused::class.java) { runBlocking { pair() } }
        assertEquals(reason to advice, error.reason to error.advice)
        return error
    }

    /** The screen's prompt is done, once. */
    private suspend fun AgentScreenStore.does(prompt: String) {
        val done = state.filterNotNull().until { screen -> ended(screen) && screen.timeline.items.any { it.intentId == prompt } }
        assertEquals(1, done.timeline.items.count { it.text == "for the right one" })
    }

    @Test
    fun `TR-3 the app shows the code that the daemon's owner compares, the yes and the no, and who else has paired`() = story {
        val pairing = async { bowline.pair(world.offer(0, ask = true)) }
        val asked = bowline.hosts.until { it.pairings.singleOrNull()?.code != null }
        val code = asked.pairings.single().code!!
        assertTrue(Regex("\\d{6}").matches(code), code)
        assertTrue(asked.hosts.isEmpty(), "nothing is stored before the yes")
        // The world finds the device by the code, so both sides have the same one.
        world.order("""{"do":"approve","code":"$code"}""")
        assertEquals(asked.pairings.single().serverId, pairing.await().serverId)
        assertTrue(app.host { it.state == HostState.ONLINE }.grant!!.role == Role.OWNER)
        bowline.hosts.until { it.pairings.isEmpty() }
        Folder().use { elsewhere ->
            App(elsewhere).use { other ->
                val unwanted = async { runCatching { other.bowline.pair(world.offer(0, ask = true)) } }
                val shown = other.bowline.hosts.until { it.pairings.singleOrNull()?.code != null }
                world.order("""{"do":"refuse","code":"${shown.pairings.single().code}"}""")
                refused(Reason.PAIRING_REFUSED, Advice.PAIR_AGAIN) { unwanted.await().getOrThrow() }
                other.bowline.hosts.until { it.pairings.isEmpty() && it.hosts.isEmpty() }
                other.bowline.pair(world.offer(0))
                assertEquals(Role.OWNER, app.host { it.lastPaired != null }.lastPaired!!.role)
            }
        }
    }

    @Test
    fun `TR-4, TR-5 a device sees its role, what that refuses, and that it was revoked`() = story {
        val server = bowline.pair(world.offer(0)).serverId
        assertEquals(Role.OWNER, app.host { it.state == HostState.ONLINE }.grant?.role)
        world.order("""{"do":"grant","role":"viewer"}""")
        app.host { it.grant?.role == Role.VIEWER }
        val intent = bowline.send(server, Intent.CreateAgent("cat", folder.path, null, "hello"))
        val host = app.host { host -> host.recentIntents.any { it.intentId == intent } }
        val outcome = host.recentIntents.single { it.intentId == intent }
        assertEquals(OutcomeKind.REFUSED to Refusal.NOT_GRANTED, outcome.kind to outcome.refusal)
        assertTrue("owner" in outcome.detail!!, outcome.detail)
        world.order("""{"do":"revoke"}""")
        assertSays(Reason.DEVICE_REVOKED, Advice.PAIR_AGAIN, app.refusal())
    }

    @Test
    fun `TR-4 a device sees when its time ends and that it has ended, and pairing again helps`() = story {
        bowline.pair(world.offer(0))
        assertNull(app.host { it.state == HostState.ONLINE }.grant!!.expiresAt)
        world.order("""{"do":"grant","expires":"30d"}""")
        val ends = app.host { it.grant?.expiresAt != null }.grant!!.expiresAt!!
        assertTrue(ends > Instant.now(), "$ends")
        world.order("""{"do":"grant","expires":"1s"}""")
        assertSays(Reason.DEVICE_EXPIRED, Advice.PAIR_AGAIN, app.refusal())
        bowline.pair(world.offer(0))
        val again = app.host { it.state == HostState.ONLINE }
        assertEquals(null to null, again.lastError to again.grant!!.expiresAt)
    }

    @Test
    fun `TR-15 a locked daemon is an error of the host and of the screen, and after the unlock the app goes on`() = story {
        val server = bowline.pair(world.offer(0)).serverId
        bowline.screen(server, bowline.agent(server, folder)).use { screen ->
            world.order("""{"do":"lock"}""")
            assertSays(Reason.DAEMON_LOCKED, Advice.WAIT, app.refusal())
            val locked = screen.state.filterNotNull().until { it.connectivity == Connectivity.OFFLINE }
            assertSays(Reason.DAEMON_LOCKED, Advice.WAIT, locked.connectionError)
            assertTrue(locked.composerEnabled && locked.timeline.items.isNotEmpty())
            Folder().use { elsewhere ->
                App(elsewhere).use { other -> refused(Reason.DAEMON_LOCKED, Advice.WAIT) { other.bowline.pair(world.offer(0)) } }
            }
            // What the user sends is tried at once, and kept.
            val before = app.host { it.state == HostState.ERROR }.generation
            val prompt = screen.send("for the right one")
            val host = app.host { it.state == HostState.ERROR && it.generation > before }
            assertSays(Reason.DAEMON_LOCKED, Advice.WAIT, host.lastError)
            assertEquals(1u, host.pendingIntents)
            world.order("""{"do":"unlock"}""")
            app.comesBack()
            assertNull(app.host { it.state == HostState.ONLINE }.lastError)
            screen.does(prompt)
        }
    }

    @Test
    fun `TR-1 whoever answers in the daemon's place is told nothing, and the app sees why`() = story {
        val server = bowline.pair(world.offer(0)).serverId
        bowline.screen(server, bowline.agent(server, folder)).use { screen ->
            world.order("""{"do":"divert","path":0}""")
            val host = app.host { it.lastError?.reason == Reason.CRYPTO_FAILED }
            // Anybody on the way can bring that about, so it is retried.
            assertSays(Reason.CRYPTO_FAILED, Advice.WAIT, host.lastError)
            assertTrue("does not have the key" in host.lastError!!.detail, host.lastError!!.detail)
            val prompt = screen.send("for the right one")
            assertEquals(0, world.heard("hellos"))

            // With the daemon's key it can read who calls, and lacks the identity.
            world.order("""{"do":"divert","path":0,"stolen":true}""")
            val error = app.refusal()
            assertSays(Reason.SERVER_IDENTITY_MISMATCH, Advice.PAIR_AGAIN, error)
            assertTrue("did not prove" in error.detail, error.detail)
            val screened = screen.state.filterNotNull().until { it.connectivity == Connectivity.OFFLINE }
            assertSays(Reason.SERVER_IDENTITY_MISMATCH, Advice.PAIR_AGAIN, screened.connectionError)

            world.heal(0)
            app.comesBack()
            assertNull(app.host { it.state == HostState.ONLINE }.lastError)
            screen.does(prompt)
            assertTrue(world.heard("hellos") > 0)
            assertEquals(0, world.heard("messages"))
        }
    }

    @Test
    fun `TR-1 a link that names a known host under another key is refused, and nobody is dialled`() = story {
        bowline.pair(world.offer(0))
        val name = app.host { it.state == HostState.ONLINE }.name
        val forged = world.link("""{"do":"forge"}""")
        assertEquals(OfferHost.OtherKey(name), bowline.inspectOffer(forged).host)
        val error = refused(Reason.SERVER_IDENTITY_MISMATCH, Advice.ASK_USER) { bowline.pair(forged) }
        assertTrue(name in error.detail && "forget" in error.detail, error.detail)
        assertEquals(0, world.heard("connections"))
        assertEquals(HostState.ONLINE, bowline.hosts.until { it.hosts.size == 1 }.hosts.single().state)
    }
}
