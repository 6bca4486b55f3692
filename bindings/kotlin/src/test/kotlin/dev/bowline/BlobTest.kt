package dev.bowline

import java.io.File
import java.nio.ByteBuffer
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Blobs of a host in an app (LD-8), with a real daemon. */
class BlobTest {
    /** Bytes of which no two pieces are equal. */
    private fun made(mib: Int): ByteArray = ByteBuffer.allocate(mib shl 20).run {
        repeat(capacity() / 4) { putInt(it * -1_640_531_535) }
        array()
    }

    private inline fun <reified T : Throwable> failing(call: () -> Unit): T = try {
        call()
        throw AssertionError("it should have failed")
    } catch (problem: BowlineException) {
        problem as? T ?: throw AssertionError("another failure", problem)
    }

    private fun inWorld(test: suspend (World, Bowline, server: String) -> Unit) = runBlocking {
        World("voxel").use { world ->
            Folder().use { folder ->
                Bowline(config(folder.path), platform = PlatformObserver.none).use { bowline ->
                    val server = bowline.pair(world.offer(0)).serverId
                    bowline.online(Path.DIRECT)
                    test(world, bowline, server)
                }
            }
        }
    }

    @Test
    fun `LD-8 a blob goes there over a cut and comes back equal, with progress, and is refused to another device`() =
        inWorld { world, bowline, server ->
            val bytes = made(24)
            val progress = MutableStateFlow<TransferProgress?>(null)
            val hash = withContext(Dispatchers.Default) {
                val putting = async { bowline.putBlob(server, bytes, progress) }
                progress.until { it?.state == TransferState.MOVING && it.done > 0uL }
                world.cut(0)
                progress.until { it?.state == TransferState.WAITING }
                assertTrue(putting.isActive)
                world.heal(0)
                withTimeout(LONG) { putting.await() }
            }
            val size = bytes.size.toULong()
            assertEquals(TransferProgress(TransferState.DONE, hash, size, size), progress.value)
            assertArrayEquals(bytes, bowline.getBlob(server, hash))

            Folder().use { files ->
                val (source, target) = listOf("source", "target").map { File(files.file, it) }
                source.writeText("of a file")
                bowline.getBlob(server, bowline.putBlob(server, source), target)
                assertEquals("of a file", target.readText())
                failing<BowlineException.Storage> { bowline.putBlob(server, File(files.file, "none")) }
            }
            Folder().use { folder ->
                Bowline(config(folder.path), platform = PlatformObserver.none).use { other ->
                    other.pair(world.offer(0))
                    val refused = failing<BowlineException.Rejected> { other.getBlob(server, hash) }
                    assertEquals(Refusal.NOT_FOUND, refused.refusal)
                    failing<BowlineException.Rejected> { other.getBlob(server, hash, BlobOf.Table("voxel.projects", "{}")) }
                    failing<BowlineException.InvalidQuery> { other.getBlob(server, "no hash") }
                }
            }
        }

    @Test
    fun `LD-8 a device that may see an item gets the blob that it refers to through it, and through nothing else`() =
        withCastle { castle ->
            val (bowline, server, _, params) = castle
            val picture = made(1)
            val hash = bowline.putBlob(server, picture)
            Folder().use { folder ->
                Bowline(config(folder.path), platform = PlatformObserver.none).use { other ->
                    other.pair(castle.world.offer(0))
                    val notes = BlobOf.Log("voxel.notes", params)
                    suspend fun refusal(of: BlobOf?) = failing<BowlineException.Rejected> { other.getBlob(server, hash, of) }.refusal
                    assertEquals(Refusal.NOT_FOUND, refusal(notes))
                    castle.run("add_note", """"by":"ana","text":"The gate","picture":"$hash"""")
                    assertArrayEquals(picture, other.getBlob(server, hash, notes))
                    val target = File(folder.file, "gate")
                    other.getBlob(server, hash, target, notes)
                    assertArrayEquals(picture, target.readBytes())
                    assertEquals(Refusal.NOT_FOUND, refusal(null))
                    assertEquals(Refusal.NOT_FOUND, refusal(BlobOf.Table("voxel.projects", params)))
                }
            }
        }

    @Test
    fun `LD-8 cancelling the coroutine cancels the transfer, and another call goes on where it stopped`() =
        inWorld { _, bowline, server ->
            val bytes = made(16)
            val moved = 2uL shl 20
            val progress = MutableStateFlow<TransferProgress?>(null)
            withContext(Dispatchers.Default) {
                val putting = launch { bowline.putBlob(server, bytes, progress) }
                progress.until { it != null && it.done > moved }
                putting.cancelAndJoin()
            }
            assertTrue(progress.value!!.state != TransferState.DONE, "it was cancelled on its way")
            val again = MutableStateFlow<TransferProgress?>(null)
            withContext(Dispatchers.Default) {
                val putting = launch { bowline.putBlob(server, bytes, again) }
                val first = again.until { it?.state == TransferState.MOVING }!!
                assertTrue(first.done >= moved, "$first")
                putting.join()
            }
            assertEquals(TransferState.DONE, again.value?.state)
        }
}
