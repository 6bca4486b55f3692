import BowlineFFI
import Foundation

/// A subscription ended by itself.
public struct SubscriptionEnded: Error, Equatable {
    /// Why.
    public let reason: EndReason
}

/// Values of the library as they change: now, and whenever they do. Only the newest waits for a slow loop. Each loop has a
/// subscription of its own, which ends with it.
///
/// It throws ``SubscriptionEnded`` when the library ended it, and ``BowlineError`` when it could not begin.
public struct Snapshots<Element: Sendable>: AsyncSequence, Sendable {
    /// One loop's place in the values, and its subscription.
    /// One loop's place in the values, and its subscription.
    public typealias AsyncIterator = AsyncThrowingStream<Element, any Error>.Iterator

    private let begin: @Sendable () -> AsyncThrowingStream<Element, any Error>

    /// - Parameters:
    ///   - first: What the first update is applied to.
    ///   - apply: Runs on the library's thread, in order, for every update.
    ///   - subscribe: Subscribes a listener that hands every update to its argument.
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
                        // One call may still be on its way after the end.
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
    /// Subscribes: the first value is what there is now.
    public func makeAsyncIterator() -> AsyncIterator {
        begin().makeAsyncIterator()
    }
}

/// What a listener has, until it is closed. Closing waits for nobody: a call may be on its way.
private final class Held<Value: Sendable>: @unchecked Sendable {
    private let closed = Flag()
    /// Only the library's one thread touches it.
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

/// A listener of any function, whatever it throws.
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
    static var empty: HostsSnapshot { HostsSnapshot(rev: 0, hosts: []) }

    /// Revisions are the low 32 bits of the library's, so a newer one is less than half a turn ahead.
    func isOlder(than other: HostsSnapshot) -> Bool {
        Int32(bitPattern: rev &- other.rev) < 0
    }
}

@Sendable func replaceHosts(_ held: inout HostsSnapshot, _ update: HostsSnapshot) {
    // Nothing is older than what was there before the first.
    if held == .empty || !update.isOlder(than: held) { held = update }
}

extension Rehearsal {
    /// The made-up hosts, for previews and tests.
    public var hosts: Snapshots<HostsSnapshot> {
        Snapshots(.empty, apply: replaceHosts) { receive in
            try self.subscribeHosts(listener: HostsProxy(receive))
        }
    }

    /// The made-up timeline, for previews and tests.
    public var timeline: Snapshots<Timeline> {
        Snapshots(Timeline(), apply: { try $0.apply($1) }) { receive in
            try self.subscribeTimeline(listener: TimelineProxy(receive))
        }
    }
}
