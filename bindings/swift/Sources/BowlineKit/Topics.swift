import BowlineFFI
import Foundation

/// An event of a service's topic.
public struct LiveEvent<Body: Sendable>: Sendable {
    /// What it is about.
    public let key: String
    /// Its body.
    public let body: Body
    /// The intent that caused it, whoever sent that.
    public let intentId: String?
}

extension LiveEvent: Equatable where Body: Equatable {}

/// The next events of a service's topic. No batch replaces another.
public struct TopicBatch<Body: Sendable>: Sendable {
    /// Events may be missing between those of the batch before and those of this one: load what they are about again.
    public internal(set) var missed: Bool
    /// The events, in order. None if only the rest is news.
    public let events: [LiveEvent<Body>]
    /// What to show besides them. From `.following` on, every event arrives.
    public let state: TopicState
    /// Why the topic is not followed.
    public let error: LoadFailure?

    init(_ update: TopicUpdate, decode: (String) throws -> Body) throws {
        events = try update.events.map { event in
            LiveEvent(key: event.key, body: try decode(event.json), intentId: event.intentId)
        }
        (missed, state, error) = (update.missed, update.state, update.error)
    }
}

/// Batches of a service's topic, every one and in order (LD-10). Each loop has its own subscription, which ends with it.
///
/// It throws ``SubscriptionEnded`` when the library ended it, and ``BowlineError`` when it could not start.
public struct TopicBatches<Body: Sendable>: AsyncSequence, Sendable {
    public typealias Element = TopicBatch<Body>

    typealias News = AsyncThrowingStream<Void, any Error>

    private let begin: @Sendable () -> AsyncIterator

    init(
        decode: @escaping @Sendable (String) throws -> Body,
        subscribe: @escaping @Sendable (@escaping @Sendable (TopicUpdate) throws -> Void) throws -> Subscription
    ) {
        begin = {
            let waiting = WaitingBatches<Body>()
            // The batches wait elsewhere, so one piece of news stands for any number of them.
            let news = News(bufferingPolicy: .bufferingNewest(1)) { continuation in
                let closed = Flag()
                do {
                    let subscription = try subscribe { update in
                        // One call may still be running after the end.
                        if closed.isSet { return }
                        let size = update.events.reduce(0) { $0 + $1.json.utf8.count }
                        waiting.add(try TopicBatch(update, decode: decode), size: size)
                        continuation.yield()
                    }
                    continuation.onTermination = { _ in
                        _ = closed.set()
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
            return AsyncIterator(waiting: waiting, news: news.makeAsyncIterator())
        }
    }

    /// Subscribes: the first batch says how the topic is doing.
    public func makeAsyncIterator() -> AsyncIterator {
        begin()
    }

    /// One loop's subscription.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let waiting: WaitingBatches<Body>
        var news: News.Iterator

        /// The next batch; none after the loop's task was cancelled.
        public mutating func next() async throws -> TopicBatch<Body>? {
            while true {
                if let batch = waiting.take() { return batch }
                if try await news.next() == nil { return nil }
            }
        }
    }
}

/// Batches between the library's thread and a loop. With more than 4,096 events or 8 MiB, the oldest are dropped and the next
/// batch is marked. A batch without events counts as one.
final class WaitingBatches<Body: Sendable>: @unchecked Sendable {
    private static var mostEvents: Int { 4_096 }
    private static var mostBytes: Int { 8 << 20 }

    private let lock = NSLock()
    private var batches: [(batch: TopicBatch<Body>, size: Int)] = []
    private var events = 0
    private var bytes = 0

    func add(_ batch: TopicBatch<Body>, size: Int) {
        lock.withLock {
            batches.append((batch, size))
            events += Self.count(batch)
            bytes += size
            while (events > Self.mostEvents || bytes > Self.mostBytes) && batches.count > 1 {
                _ = removeFirst()
                batches[0].batch.missed = true
            }
        }
    }

    func take() -> TopicBatch<Body>? {
        lock.withLock { batches.isEmpty ? nil : removeFirst() }
    }

    /// What a batch counts as. One that only tells a state is kept as well, so it counts too.
    private static func count(_ batch: TopicBatch<Body>) -> Int { max(1, batch.events.count) }

    private func removeFirst() -> TopicBatch<Body> {
        let (batch, size) = batches.removeFirst()
        events -= Self.count(batch)
        bytes -= size
        return batch
    }
}

extension Bowline {
    /// Events of a service's topic: every one from now on, once and in order (LD-10). `params` says which, as the service defines.
    /// Each loop has a subscription of its own; all with the same name and parameters share one follow.
    ///
    /// A body is decoded on the library's thread. The loop ends with ``SubscriptionEnded`` when one is not of that type
    /// (`.listenerFailed`), the host is forgotten, or it has its most topics open.
    public func topic<Body: Decodable & Sendable>(
        _ name: String, _ params: some Encodable & Sendable = [String: String](), on serverId: String,
        as _: Body.Type = Body.self
    ) -> TopicBatches<Body> {
        TopicBatches(decode: { try decoded($0) }) { receive in
            try self.open().subscribeTopic(
                serverId: serverId, name: name, paramsJson: encoded(params), listener: TopicProxy(receive))
        }
    }
}

final class TopicProxy: TopicListener {
    private let listener: Listener<TopicUpdate>
    init(_ receive: @escaping @Sendable (TopicUpdate) throws -> Void) { listener = Listener(receive: receive) }
    func onTopic(update: TopicUpdate) throws { try listener.call(update) }
}
