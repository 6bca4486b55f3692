// What updates cost: an item appended to a history, and a burst with a slow subscriber.

import BowlineFFI
import BowlineKit
import Foundation

/// Items appended for one sample, so that every place of the lists' grids is among them.
private let appended = 200
/// What a burst publishes.
private let updates: UInt32 = 100_000
/// Microseconds that a slow callback takes.
private let slow: UInt32 = 10_000

/// An item appended to histories of 100 and of 10,000, until a loop over the package's own timelines has it; a sample is
/// the mean of many. The two take turns item by item, so that what else the machine does falls on both.
func measureAppends(samples: Int) async throws -> [Figure] {
    var (short, long) = (Figure("append_100"), Figure("append_10000"))
    for round in -1..<samples {
        var (few, many) = (try await History(of: 100), try await History(of: 10_000))
        for _ in 1...appended {
            try await few.append()
            try await many.append()
        }
        // The first round warms up.
        guard round >= 0 else { continue }
        short.add(few.took / Double(appended))
        long.add(many.took / Double(appended))
    }
    return [short, long]
}

/// A timeline that grows, and a loop that follows it.
private struct History {
    private let preview: PreviewData
    private var timelines: Snapshots<Timeline>.AsyncIterator
    private var length: Int
    /// Microseconds that the appended items took.
    private(set) var took = 0.0

    init(of length: Int) async throws {
        self.length = length
        preview = PreviewData(hosts: 1, items: UInt32(length))
        timelines = preview.timeline.makeAsyncIterator()
        try await shown()
    }

    mutating func append() async throws {
        let watch = Stopwatch()
        preview.append(text: "a line of output, as long as they are")
        length += 1
        try await shown()
        took += watch.micros
    }

    private mutating func shown() async throws {
        while let timeline = try await timelines.next() {
            if timeline.items.count == length { return }
        }
        throw Unexpected("the timeline ended")
    }
}

/// What a burst takes, with no subscriber and with a slow one: the library's side must not notice it.
func measureBursts(samples: Int) async throws -> [Figure] {
    var (alone, held) = (Figure("burst_alone"), Figure("burst_slow"))
    for _ in 0..<samples {
        alone.add(try await micros(PreviewData(hosts: 1, items: 0)))
        let preview = PreviewData(hosts: 1, items: 0)
        let subscription = try preview.subscribeHosts(listener: Listening { _ in usleep(slow) })
        held.add(try await micros(preview))
        subscription.cancel()
        _ = await subscription.ended()
    }
    return [alone, held]
}

private func micros(_ preview: PreviewData) async throws -> Double {
    try await preview.burst(updates: updates, perSecond: 0) * 1e3
}

/// From the moment when a slow callback is free, or the burst is over if that is later, until the last of
/// 100,000 updates a second is delivered.
func measureLast(samples: Int) async throws -> Figure {
    var figure = Figure("last_after_free")
    for _ in 0..<samples {
        let preview = PreviewData(hosts: 1, items: 0)
        let watch = Stopwatch()
        let times = Shared<(free: Double, last: (since: Double, at: Double)?)>((0, nil))
        let (delivered, delivery) = AsyncStream.makeStream(of: Void.self)
        let subscription = try preview.subscribeHosts(
            listener: Listening { snapshot in
                let at = watch.micros
                let isLast = snapshot.hosts[0].name == "\(updates)"
                if isLast { times.change { $0.last = ($0.free, at) } }
                usleep(slow)
                times.change { $0.free = watch.micros }
                if isLast { delivery.finish() }
            })
        let begun = watch.micros
        // When it was over, and not when the library's one thread had time to say so.
        let over = begun + (try await preview.burst(updates: updates, perSecond: updates)) * 1e3
        for await _ in delivered {}
        guard let last = times.change({ $0.last }) else { throw Unexpected("the last update was lost") }
        figure.add(max(0, last.at - max(last.since, over)))
        subscription.cancel()
        _ = await subscription.ended()
    }
    return figure
}

/// A listener of one function.
private final class Listening: HostsListener {
    private let hear: @Sendable (HostsSnapshot) -> Void

    init(_ hear: @escaping @Sendable (HostsSnapshot) -> Void) { self.hear = hear }

    func onHosts(snapshot: HostsSnapshot) { hear(snapshot) }
}
