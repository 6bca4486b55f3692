import BowlineFFI
import Foundation

/// A subscription ended without being cancelled.
public struct SubscriptionEnded: Error, Equatable {
    /// The reason.
    public let reason: EndReason
    /// The recommended action. Only `.tryAgain` means that another subscription may succeed.
    public var advice: Advice { endAdvice(reason: reason) }
}

/// The current value of the library and its changes. Only the newest value is buffered for a slow loop.
/// Each loop has its own subscription, which ends with it.
///
/// It throws ``SubscriptionEnded`` when the library ended it, and ``BowlineError`` when it could not
/// start.
public struct Snapshots<Element: Sendable>: AsyncSequence, Sendable {
    /// One loop's place in the values, and its subscription.
    public typealias AsyncIterator = AsyncThrowingStream<Element, any Error>.Iterator

    private let begin: @Sendable () -> AsyncThrowingStream<Element, any Error>

    /// - Parameters:
    ///   - first: What the first update is applied to.
    ///   - apply: Runs on the library's thread, in order, for every update.
    ///   - subscribe: Subscribes a listener that passes every update to its argument.
    init<Update>(
        _ first: Element,
        apply: @escaping @Sendable (inout Element, Update) throws -> Void,
        subscribe: @escaping @Sendable (@escaping @Sendable (Update) throws -> Void) throws -> Subscription
    ) {
        begin = {
            AsyncThrowingStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
                let held = Held(first)
                do {
                    let subscription = try subscribe { update in
                        // One call may still be running after the end.
                        if let value = try held.change({ try apply(&$0, update) }) {
                            continuation.yield(value)
                        }
                    }
                    continuation.onTermination = { _ in
                        held.close()
                        subscription.cancel()
                    }
                    Task {
                        let reason = await subscription.ended()
                        let isAsked = reason == .cancelled
                        continuation.finish(throwing: isAsked ? nil : SubscriptionEnded(reason: reason))
                    }
                } catch {
                    continuation.finish(throwing: error)
                }
            }
        }
    }

    /// Subscribes: the first value is what there is now.
    public func makeAsyncIterator() -> AsyncIterator {
        begin().makeAsyncIterator()
    }
}

/// The value of a listener, until it is closed. Closing does not wait: a call may still be running.
private final class Held<Value: Sendable>: @unchecked Sendable {
    private let closed = Flag()
    /// Only the library's dispatcher thread accesses it.
    private var value: Value

    init(_ value: Value) {
        self.value = value
    }

    /// Changes it, unless it is closed.
    func change(_ change: (inout Value) throws -> Void) rethrows -> Value? {
        if closed.isSet { return nil }
        try change(&value)
        return value
    }

    func close() {
        _ = closed.set()
    }
}

/// Makes a listener of any function, including one that throws.
struct Listener<Update>: Sendable {
    let receive: @Sendable (Update) throws -> Void

    func call(_ update: Update) throws {
        do {
            try receive(update)
        } catch let error as CallbackError {
            throw error
        } catch {
            throw CallbackError.Failed(detail: String(describing: error))
        }
    }
}

// Classes, because the generated code takes references.

final class HostsProxy: HostsListener {
    private let listener: Listener<HostsSnapshot>
    init(_ receive: @escaping @Sendable (HostsSnapshot) throws -> Void) { listener = Listener(receive: receive) }
    func onHosts(snapshot: HostsSnapshot) throws { try listener.call(snapshot) }
}

final class DirectoryProxy: DirectoryListener {
    private let listener: Listener<DirectoryUpdate>
    init(_ receive: @escaping @Sendable (DirectoryUpdate) throws -> Void) { listener = Listener(receive: receive) }
    func onDirectory(update: DirectoryUpdate) throws { try listener.call(update) }
}

final class ScreenProxy: ScreenListener {
    private let listener: Listener<ScreenUpdate>
    init(_ receive: @escaping @Sendable (ScreenUpdate) throws -> Void) { listener = Listener(receive: receive) }
    func onScreen(update: ScreenUpdate) throws { try listener.call(update) }
}

final class TimelineProxy: TimelineListener {
    private let listener: Listener<TimelineUpdate>
    init(_ receive: @escaping @Sendable (TimelineUpdate) throws -> Void) { listener = Listener(receive: receive) }
    func onTimeline(update: TimelineUpdate) throws { try listener.call(update) }
}

extension HostsSnapshot {
    /// No host yet.
    static var empty: HostsSnapshot { HostsSnapshot(rev: 0, hosts: [], pairings: []) }

    /// Revisions are the low 32 bits of the library's, so the newer one is less than half the range
    /// ahead.
    func isOlder(than other: HostsSnapshot) -> Bool {
        Int32(bitPattern: rev &- other.rev) < 0
    }
}

@Sendable func replaceHosts(_ held: inout HostsSnapshot, _ update: HostsSnapshot) {
    // The value before the first update is older than all.
    if held == .empty || !update.isOlder(than: held) { held = update }
}
