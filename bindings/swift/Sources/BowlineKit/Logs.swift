import BowlineFFI

/// What the library logs of itself (OB). It holds no secrets and no content.
public enum Logs {
    /// Batches that wait for a slow loop; older ones are dropped, and counted.
    private static let waiting = 64

    /// Lines as they are logged, up to a level, for as long as the loop runs.
    public static func batches(_ level: LogLevel) -> AsyncThrowingStream<LogBatch, any Error> {
        AsyncThrowingStream(bufferingPolicy: .bufferingNewest(waiting)) { continuation in
            do {
                try Library.check()
                let subscription = try subscribeLogs(level: level, listener: LogProxy(continuation))
                continuation.onTermination = { _ in subscription.cancel() }
            } catch {
                continuation.finish(throwing: error)
            }
        }
    }

    /// Logs to the system's log as well, on Apple's systems `os_log`. False where there is none that the library knows.
    @discardableResult
    public static func toSystem(_ level: LogLevel) throws -> Bool {
        try Library.check()
        return try logToSystem(level: level)
    }
}

/// Hands batches to a loop. Only the library's one thread calls it.
private final class LogProxy: LogListener, @unchecked Sendable {
    private let continuation: AsyncThrowingStream<LogBatch, any Error>.Continuation
    /// Lines that no loop will see, and that the next batch tells of.
    private var dropped: UInt32 = 0

    init(_ continuation: AsyncThrowingStream<LogBatch, any Error>.Continuation) {
        self.continuation = continuation
    }

    func onLog(batch: LogBatch) throws {
        let told = LogBatch(records: batch.records, dropped: batch.dropped &+ dropped)
        if case .dropped(let old) = continuation.yield(told) {
            dropped = UInt32(old.records.count) &+ old.dropped
        } else {
            dropped = 0
        }
    }
}
