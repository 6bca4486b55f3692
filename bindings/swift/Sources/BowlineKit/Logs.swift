import BowlineFFI

/// The library's log (OB-1). It contains no secrets and no content.
public enum Logs {
    /// Batches buffered for a slow loop; older ones are dropped and counted.
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

    /// Logs to the system's log as well, `os_log` on Apple's systems. False if the platform has none.
    @discardableResult
    public static func toSystem(_ level: LogLevel) throws -> Bool {
        try Library.check()
        return try logToSystem(level: level)
    }
}

/// Passes batches to a loop. Only the library's dispatcher thread calls it.
private final class LogProxy: LogListener, @unchecked Sendable {
    private let continuation: AsyncThrowingStream<LogBatch, any Error>.Continuation
    /// Number of dropped lines, which the next batch reports.
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
