import Foundation

/// Combines a platform's many network reports into single changes.
///
/// The first report is the current state, a repeated one is ignored, and a loss is reported when a
/// network is back. A change of networks causes a burst of reports: one change is reported when it has
/// settled.
final class NetworkChanges<Seen: Equatable>: @unchecked Sendable {
    private let settled: @Sendable () async -> Void
    private let tell: @Sendable () -> Void
    private let lock = NSLock()
    /// The last report: outside none before the first, inside none without a network.
    private var last: Seen??
    private var isSettling = false
    private var isEnded = false

    /// - Parameters:
    ///   - settled: Returns when a flurry of reports is likely over.
    ///   - tell: Told of a change, until ``end()``.
    init(
        settled: @escaping @Sendable () async -> Void = { try? await Task.sleep(for: .milliseconds(250)) },
        tell: @escaping @Sendable () -> Void
    ) {
        (self.settled, self.tell) = (settled, tell)
    }

    /// Takes a report of the platform; none means no network. From any thread.
    func report(_ seen: Seen?) {
        let begins = lock.withLock {
            let before = last
            last = .some(seen)
            guard !isEnded, let before, before != seen, !isSettling else { return false }
            isSettling = true
            return true
        }
        guard begins else { return }
        Task { [weak self, settled] in
            await settled()
            self?.settle()
        }
    }

    /// Stops reporting.
    func end() {
        lock.withLock { isEnded = true }
    }

    private func settle() {
        let isThere = lock.withLock {
            isSettling = false
            return !isEnded && last.flatMap { $0 } != nil
        }
        if isThere { tell() }
    }
}
