package dev.bowline

import dev.bowline.ffi.Advice
import dev.bowline.ffi.BowlineException
import dev.bowline.ffi.Intent
import dev.bowline.ffi.KeyStore
import dev.bowline.ffi.KeyStoreException
import java.io.File
import java.util.concurrent.ConcurrentHashMap
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Identity and storage: what cannot be used is an error, and nothing is made in its place (INV-9). */
class StorageTest {
    private fun open(folder: String, keyStore: KeyStore? = null) =
        Bowline(config(folder), keyStore, PlatformObserver.none)

    @Test
    fun `inv-9 a profile without its identity is an error and stays as it is`() = Folder().use { folder ->
        open(folder.path).close()
        val profile = File(folder.file, "profile.json")
        for (bad in listOf("{}", "", "not JSON", profile.readText().replace("clientSessionKey", "other"))) {
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
    fun `inv-9 a key store that is locked is an error, and nothing is written to it`() = Folder().use { folder ->
        val store = object : KeyStore {
            override fun read(name: String): ByteArray? = throw KeyStoreException.Failed("locked")

            override fun write(name: String, value: ByteArray): Unit = error("never")
        }
        val error = assertThrows(BowlineException.Storage::class.java) { open(folder.path, store) }
        assertTrue(error.detail.contains("locked"), error.detail)
    }

    @Test
    fun `inv-9 malformed names are errors`() = Folder().use { folder ->
        open(folder.path).use { bowline ->
            val prompt = Intent.SendPrompt("agt_nonsense", "hello")
            assertThrows(BowlineException.InvalidIdentity::class.java) { bowline.send("nonsense", prompt) }
            assertThrows(BowlineException.InvalidOffer::class.java) { runBlocking { bowline.pair("https://example.com") } }
            Unit
        }
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
