import BowlineFFI
import Foundation

/// Reports an app's changes between foreground and background to the library, and pauses the library
/// before the system freezes the app.
///
/// A user may switch faster than the disk: pauses and resumes run one after the other, so that the
/// library ends in the state of the app. Safe to use from any thread.
public final class AppLife: @unchecked Sendable {
    /// Attempts of a failing resume (the disk is still locked).
    private static let attempts = 10
    /// Pause between two attempts.
    private static let again = Duration.seconds(1)

    private let target: any PlatformTarget
    private let wait: @Sendable () async -> Void
    private let lock = NSLock()
    /// The state the app requested, and the state of the library.
    private var (wantsPause, isPaused) = (false, false)
    private var isAtWork = false
    private var whenDone: [@Sendable () -> Void] = []

    /// - Parameter target: Told and paused.
    public convenience init(_ target: any PlatformTarget) {
        self.init(target) { try? await Task.sleep(for: Self.again) }
    }

    /// - Parameter wait: Between two attempts.
    init(_ target: any PlatformTarget, wait: @escaping @Sendable () async -> Void) {
        (self.target, self.wait) = (target, wait)
    }

    /// The app is in the background, where it may be frozen at any moment after `done`.
    ///
    /// - Parameter done: The library has closed its files, or the app is back. Runs once, on any thread.
    public func enterBackground(done: @escaping @Sendable () -> Void = {}) {
        target.tell(.background)
        change(toPaused: true, done: done)
    }

    /// The app is back.
    public func enterForeground() {
        target.tell(.foreground)
        change(toPaused: false) {}
    }

    private func change(toPaused: Bool, done: @escaping @Sendable () -> Void) {
        let begins = lock.withLock {
            wantsPause = toPaused
            whenDone.append(done)
            defer { isAtWork = true }
            return !isAtWork
        }
        if begins { Task { await work() } }
    }

    private func work() async {
        var failed = 0
        while let pause = next(isGivenUp: failed >= Self.attempts) {
            do {
                try await pause ? target.pause() : target.resume()
                lock.withLock { isPaused = pause }
                failed = 0
            } catch {
                // The library logs the reason, and its calls fail with it.
                failed += 1
                await wait()
            }
        }
    }

    /// The next action; none when all is done, and the waiters are notified.
    private func next(isGivenUp: Bool) -> Bool? {
        let (next, done): (Bool?, [@Sendable () -> Void]) = lock.withLock {
            if wantsPause != isPaused, !isGivenUp { return (wantsPause, []) }
            isAtWork = false
            defer { whenDone = [] }
            return (nil, whenDone)
        }
        for one in done { one() }
        return next
    }
}
