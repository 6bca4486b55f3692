package dev.bowline

import java.io.File
import kotlinx.coroutines.flow.MutableStateFlow

/**
 * Puts a blob and returns its name, the SHA-256 of its bytes, once the daemon has verified and stored it; then an intent may name it
 * (LD-8). It goes on after lost connections, waits while there is none, and continues where an earlier call stopped, also one of an
 * earlier process. Cancelling the coroutine cancels the transfer. At most 64 blobs of a host are on their way.
 *
 * @param progress Is given the newest progress, and nothing after the return.
 * @throws BowlineException with the reason and the recommended action; [BowlineException.TooMany] beyond 64 blobs.
 */
public suspend fun Bowline.putBlob(
    serverId: String,
    bytes: ByteArray,
    progress: MutableStateFlow<TransferProgress?>? = null,
): String = put(serverId, BlobSource.Bytes(bytes), progress)

/** As the other [putBlob], from a file. It must not change meanwhile: it is read twice. */
public suspend fun Bowline.putBlob(
    serverId: String,
    file: File,
    progress: MutableStateFlow<TransferProgress?>? = null,
): String = put(serverId, BlobSource.File(file.path), progress)

/**
 * Gets a blob of at most 64 MiB and verifies it; otherwise as [putBlob].
 *
 * @param of The table or log through which this device may see it; without it, it must have put it.
 * @throws BowlineException.TooLarge beyond 64 MiB: get it into a file.
 */
public suspend fun Bowline.getBlob(
    serverId: String,
    hash: String,
    of: BlobOf? = null,
    progress: MutableStateFlow<TransferProgress?>? = null,
): ByteArray {
    val stored = transferred(progress) { getBlob(serverId, hash, of, BlobSink.Bytes, it) }
    return checkNotNull(stored.bytes) { "bytes were asked for" }
}

/**
 * Gets a blob into a file, which appears, or is replaced, once it is whole. Until then its bytes are in a file beside it whose name
 * ends with `.part`, from which another call goes on, also after a restart of the app. Otherwise as [getBlob].
 */
public suspend fun Bowline.getBlob(
    serverId: String,
    hash: String,
    file: File,
    of: BlobOf? = null,
    progress: MutableStateFlow<TransferProgress?>? = null,
) {
    transferred(progress) { getBlob(serverId, hash, of, BlobSink.File(file.path), it) }
}

private suspend fun Bowline.put(
    serverId: String,
    source: BlobSource,
    progress: MutableStateFlow<TransferProgress?>?,
): String = transferred(progress) { putBlob(serverId, source, it) }.hash

private suspend fun Bowline.transferred(
    progress: MutableStateFlow<TransferProgress?>?,
    start: BowlineRuntime.(TransferListener) -> Transfer,
): StoredBlob {
    val listener = object : TransferListener {
        override fun onProgress(newest: TransferProgress) {
            progress?.value = newest
        }
    }
    val transfer = call { start(listener) }
    try {
        return transfer.outcome()
    } finally {
        // Also of a cancelled coroutine. One that is whole has nothing to cancel.
        transfer.cancel()
        transfer.close()
    }
}
