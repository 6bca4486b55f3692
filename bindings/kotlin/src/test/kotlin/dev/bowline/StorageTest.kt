package dev.bowline

import java.io.File
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermissions
import java.util.concurrent.CompletableFuture
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.joinAll
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test

/** Identity and storage: what cannot be used is an error, and nothing is made in its place (INV-9). */
class StorageTest {
    private fun open(folder: String, keyStore: KeyStore? = null) =
        Bowline(config(folder), keyStore, PlatformObserver.none)

    @Test
    fun `INV-9 a profile without its identity is an error and stays as it is`() = Folder().use { folder ->
        open(folder.path).close()
        val profile = File(folder.file, "profile.json")
        for (bad in listOf("{}", "", "not JSON", profile.readText().replace("secret", "other"))) {
            profile.writeText(bad)
            val error = assertThrows(BowlineException.CorruptStorage::class.java) { open(folder.path) }
            assertTrue(error.detail.contains("profile.json"), error.detail)
            assertEquals(Advice.CHECK_STORAGE, error.advice)
            assertEquals(bad, profile.readText())
        }
    }

    @Test
    fun `a folder that cannot be made is an error that names it`() = Folder().use { folder ->
        val file = File(folder.file, "file").apply { writeText("in the way") }
        val error = assertThrows(BowlineException.Storage::class.java) { open("${file.path}/storage") }
        assertTrue(error.detail.contains(file.path), error.detail)
    }

    @Test
    fun `a key store keeps the identity, and the folder does not`() = Folder().use { folder ->
        val store = MemoryStore()
        open(folder.path, store).close()
        assertFalse(File(folder.file, "profile.json").exists())
        val kept = store.values.getValue("profile.json").copyOf()
        open(folder.path, store).close()
        assertArrayEquals(kept, store.values["profile.json"])
    }

    @Test
    fun `INV-9 a key store that is locked is an error, and nothing is written to it`() = Folder().use { folder ->
        val store = object : KeyStore {
            override fun read(name: String): ByteArray? = throw KeyStoreException.Failed("locked")

            override fun write(name: String, value: ByteArray): Unit = error("never")
        }
        val error = assertThrows(BowlineException.Storage::class.java) { open(folder.path, store) }
        assertTrue(error.detail.contains("locked"), error.detail)
    }

    @Test
    fun `INV-9 a key store that fails in any way has not found nothing`() = Folder().use { folder ->
        val problems = listOf(NotImplementedError("not yet"), AssertionError("a defect"), IllegalStateException("a bug"))
        for (problem in problems) {
            val written = ArrayList<String>()
            val store = object : KeyStore {
                override fun read(name: String): ByteArray? = throw problem

                override fun write(name: String, value: ByteArray) {
                    written.add(name)
                }
            }
            val error = assertThrows(BowlineException.Storage::class.java) { open(folder.path, store) }
            assertTrue(error.detail.contains(problem.message!!), error.detail)
            assertEquals(emptyList<String>(), written)
        }
        val full = object : KeyStore {
            override fun read(name: String): ByteArray? = null

            override fun write(name: String, value: ByteArray): Unit = throw OutOfMemoryError("no room")
        }
        assertThrows(BowlineException.Storage::class.java) { open(folder.path, full) }
        Unit
    }

    @Test
    fun `a folder in which nothing can be written is an error that names it`() {
        // Where not even root writes.
        val folder = File("/proc/self")
        assumeTrue(folder.isDirectory)
        val error = assertThrows(BowlineException.Storage::class.java) { open(folder.path) }
        assertTrue(error.detail.contains(folder.path), error.detail)
        assertEquals(Advice.CHECK_STORAGE, error.advice)
    }

    @Test
    fun `hosts that do not read are an error, and stay as they are`() = Folder().use { folder ->
        open(folder.path).close()
        val hosts = File(folder.file, "hosts.json").apply { writeText("{\"version\":1,\"hosts\":[{}]}") }
        val error = assertThrows(BowlineException.CorruptStorage::class.java) { open(folder.path) }
        assertTrue(error.detail.contains("hosts.json"), error.detail)
        assertTrue(hosts.readText().contains("[{}]"))
    }

    @Test
    fun `an observer that cannot begin leaves nothing behind, not even for itself`() = Folder().use { folder ->
        lateinit var target: PlatformTarget
        val observer = PlatformObserver { told -> target = told; throw SecurityException("no permission") }
        assertThrows(SecurityException::class.java) { Bowline(config(folder.path), platform = observer) }
        target.tell(PlatformEvent.NETWORK_CHANGED)
        runBlocking { target.pause() }
    }

    @Test
    fun `one that nobody closed ends once it is collected`() = Folder().use { folder ->
        // With the JVM's own observer, whose thread lives on.
        forgotten(folder).use { subscription ->
            runBlocking {
                val reason = withTimeout(LONG) {
                    val ended = async { subscription.ended() }
                    while (!ended.isCompleted) {
                        System.gc()
                        yield()
                    }
                    ended.await()
                }
                assertEquals(EndReason.RUNTIME_CLOSED, reason)
            }
        }
    }

    private fun forgotten(folder: Folder): Subscription =
        Bowline(config(folder.path)).call { subscribeHosts(hostsListener { }) }

    @Test
    fun `INV-9 malformed names are errors`() = Folder().use { folder ->
        open(folder.path).use { bowline ->
            val prompt = Intent.SendPrompt("agt_nonsense", "hello")
            assertThrows(BowlineException.InvalidIdentity::class.java) { bowline.send("nonsense", prompt) }
            assertThrows(BowlineException.InvalidOffer::class.java) { runBlocking { bowline.pair("https://example.com") } }
            Unit
        }
    }

    @Test
    fun `TR-14 an offer is inspected before it is confirmed, and one that was tampered with is an error`() = Folder().use { folder ->
        open(folder.path).use { bowline ->
            val server = "srv_" + "a".repeat(26)
            val keys = "k=" + "A".repeat(43) + "&t=" + "A".repeat(22)
            val link = "bowline://pair?v=1&s=$server&$keys&n=workshop&d=192.168.1.5:4717&r=wss://relay.example.org"
            val offer = bowline.inspectOffer(link)
            assertEquals(server, offer.serverId)
            assertEquals("workshop", offer.name)
            assertEquals(OfferHost.Unknown, offer.host)
            val addresses =
                listOf(
                    OfferAddress(Path.DIRECT, "192.168.1.5:4717", Reach.PRIVATE),
                    OfferAddress(Path.RELAY, "wss://relay.example.org", Reach.PUBLIC),
                )
            assertEquals(addresses, offer.addresses)
            assertThrows(BowlineException.InvalidOffer::class.java) { bowline.inspectOffer("$link#x") }
            Unit
        }
    }

    @Test
    fun `TR-11 a folder that others may write to is an error of its own`() = Folder().use { folder ->
        Files.setPosixFilePermissions(folder.file.toPath(), PosixFilePermissions.fromString("rwxrwxrwx"))
        val error = assertThrows(BowlineException.StorageNotPrivate::class.java) { open(folder.path) }
        assertEquals(Advice.CHECK_STORAGE, error.advice)
        assertTrue(error.detail.contains("chmod 700"))
    }

    @Test
    fun `a host that is not known is an error of the call, and of the screen`() = Folder().use { folder ->
        open(folder.path).use { bowline ->
            val server = "srv_" + "a".repeat(26)
            val agent = "agt_00000000-0000-7000-8000-000000000000"
            assertThrows(BowlineException::class.java) { bowline.send(server, Intent.Cancel(agent)) }
            bowline.screen(server, agent).use { screen ->
                runBlocking {
                    // Like every store it works for as long as somebody looks.
                    val looking = launch { screen.state.collect { } }
                    val failure = screen.failure.until { it != null }
                    assertTrue(failure is BowlineException, "$failure")
                    looking.cancel()
                }
            }
        }
    }

    @Test
    fun `the end is waited for by everyone who asks for it, and late platforms do no harm`() = Folder().use { folder ->
        lateinit var target: PlatformTarget
        val bowline = Bowline(config(folder.path), platform = { told -> target = told; AutoCloseable { } })
        runBlocking {
            List(4) { launch(Dispatchers.Default) { bowline.shutdown() } }.joinAll()
            // Nothing is left of it: the folder is free.
            open(folder.path).close()
            target.tell(PlatformEvent.NETWORK_CHANGED)
            target.pause()
            target.resume()
        }
    }

    @Test
    fun `calls that the end overtakes say that it came`() = Folder().use { folder ->
        repeat(20) {
            val bowline = open(folder.path)
            val begun = CountDownLatch(1)
            val outcome = CompletableFuture.supplyAsync {
                runCatching {
                    while (true) {
                        bowline.refresh()
                        begun.countDown()
                    }
                }
            }
            begun.await()
            bowline.close()
            val problem = outcome.get(60, TimeUnit.SECONDS).exceptionOrNull()
            assertTrue(problem is BowlineException.Closed, "$problem")
        }
    }

    @Test
    fun `after the end every call says so, and the end may come often`() = Folder().use { folder ->
        val bowline = open(folder.path)
        bowline.close()
        bowline.close()
        runBlocking { bowline.shutdown() }
        assertThrows(BowlineException.Closed::class.java) { bowline.refresh() }
        assertThrows(BowlineException.Closed::class.java) { runBlocking { bowline.pair("bowline://pair?v=1") } }
        Unit
    }
}

/** A key store in memory. */
class MemoryStore : KeyStore {
    val values = ConcurrentHashMap<String, ByteArray>()

    override fun read(name: String): ByteArray? = values[name]

    override fun write(name: String, value: ByteArray) {
        values[name] = value
    }
}
