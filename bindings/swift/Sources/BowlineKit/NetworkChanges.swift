import Foundation

/// Makes one change of the network out of a platform's many reports of it.
///
/// The first report says what there is, one that repeats the last says nothing, and a loss is told when there is a network
/// again. Changing networks is a flurry of reports: what is told of it is told once, when it has settled.
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

    /// The platform says what there is; none is no network. From any thread.
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

    /// Nothing is told any more.
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
