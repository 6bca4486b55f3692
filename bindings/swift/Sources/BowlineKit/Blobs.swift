import BowlineFFI
import Foundation

extension Bowline {
    /// Is called with the newest progress of a blob, on the library's thread, and not after the call's end.
    public typealias BlobProgress = @Sendable (TransferProgress) -> Void

    /// Puts a blob and returns its name, the SHA-256 of its bytes, once the daemon has verified and stored it; then an intent may name
    /// it (LD-8). It goes on after lost connections, waits while there is none, and continues where an earlier call stopped, also one
    /// of an earlier process. Cancelling the task cancels the transfer. At most 64 blobs of a host are on their way.
    ///
    /// - Throws: ``BowlineError``: `TooMany` beyond 64 blobs, `Cancelled` if the task was cancelled.
    public func putBlob(_ data: Data, on serverId: String, onProgress: BlobProgress? = nil) async throws -> String {
        try await put(.bytes(bytes: data), on: serverId, onProgress)
    }

    /// As the other `putBlob`, from a file. It must not change meanwhile: it is read twice.
    public func putBlob(_ file: URL, on serverId: String, onProgress: BlobProgress? = nil) async throws -> String {
        try await put(.file(path: file.path), on: serverId, onProgress)
    }

    /// Gets a blob of at most 64 MiB and verifies it. `of` names the table or log through which this device may see it; without it, it
    /// must have put it. Otherwise as putting.
    ///
    /// - Throws: ``BowlineError``: `TooLarge` beyond 64 MiB, which fit into a file.
    public func getBlob(
        _ hash: String, of: BlobOf? = nil, on serverId: String, onProgress: BlobProgress? = nil
    ) async throws -> Data {
        let stored = try await transferred(onProgress) { runtime, listener in
            try runtime.getBlob(serverId: serverId, hash: hash, of: of, sink: .bytes, listener: listener)
        }
        return stored.bytes ?? Data()
    }

    /// Gets a blob into a file, which appears, or is replaced, once it is whole. Until then its bytes are in a file beside it whose
    /// name ends with `.part`, from which another call goes on, also after a restart of the app. Otherwise as
    /// ``getBlob(_:of:on:onProgress:)``.
    public func getBlob(
        _ hash: String, of: BlobOf? = nil, on serverId: String, to file: URL, onProgress: BlobProgress? = nil
    ) async throws {
        _ = try await transferred(onProgress) { runtime, listener in
            let sink = BlobSink.file(path: file.path)
            return try runtime.getBlob(serverId: serverId, hash: hash, of: of, sink: sink, listener: listener)
        }
    }

    private func put(_ source: BlobSource, on serverId: String, _ onProgress: BlobProgress?) async throws -> String {
        try await transferred(onProgress) { runtime, listener in
            try runtime.putBlob(serverId: serverId, source: source, listener: listener)
        }.hash
    }

    private func transferred(
        _ onProgress: BlobProgress?, start: (BowlineRuntime, any TransferListener) throws -> Transfer
    ) async throws -> StoredBlob {
        let transfer = try start(open(), TransferProxy(onProgress))
        return try await withTaskCancellationHandler {
            try await transfer.outcome()
        } onCancel: {
            transfer.cancel()
        }
    }
}

private final class TransferProxy: TransferListener {
    private let receive: Bowline.BlobProgress?

    init(_ receive: Bowline.BlobProgress?) {
        self.receive = receive
    }

    func onProgress(progress: TransferProgress) throws {
        receive?(progress)
    }
}
