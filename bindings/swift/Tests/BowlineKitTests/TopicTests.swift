import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("A service's topic: the queue by itself, and a real daemon that has one: daemon/examples/voxel.rs", .serialized)
struct TopicTests {
    private struct Edit: Decodable, Equatable, Sendable {
        var added: String?
        var removed: String?
    }

    private struct OfLayer: Encodable { let layer: String }

    private func batch(_ missed: Bool, _ bodies: Int...) throws -> TopicBatch<Int> {
        let events = bodies.map { JsonEvent(key: "k", json: String($0), intentId: nil) }
        return try TopicBatch(TopicUpdate(missed: missed, events: events, state: .following, error: nil)) {
            Int($0) ?? -1
        }
    }

    private func text(_ batch: TopicBatch<Int>) -> String {
        (batch.missed ? "*" : "") + batch.events.map { String($0.body) }.joined(separator: " ")
    }

    @Test("LD-10: batches wait in order, and what is dropped at the bound is said")
    func waiting() throws {
        let waiting = WaitingBatches<Int>()
        func taken() -> [String] {
            var all: [String] = []
            while let batch = waiting.take() { all.append(text(batch)) }
            return all
        }
        waiting.add(try batch(false, 1), size: 1)
        waiting.add(try batch(true, 2, 3), size: 2)
        #expect(taken() == ["1", "*2 3"])
        for number in 0..<5_000 { waiting.add(try batch(false, number), size: 4) }
        let rest = taken()
        #expect(rest.count == 4_096)
        #expect(Array(rest.prefix(2)) == ["*904", "905"])
        // Those without an event as well.
        for _ in 0..<5_000 { waiting.add(try batch(false), size: 0) }
        #expect(taken().count == 4_096)
        for number in 0..<3 { waiting.add(try batch(false, number), size: (8 << 20) - 1) }
        #expect(taken() == ["*2"])
    }

    @Test("LD-10: every event comes once and in order over a cut, and a refusal says why", .timeLimit(.minutes(3)))
    func live() async throws {
        let castle = try await Castle()
        let (bowline, server, project) = (castle.bowline, castle.server, castle.project)
        let topic = bowline.topic("voxel.edited", castle.params, on: server, as: Edit.self)
        var batches = topic.makeAsyncIterator()
        var told: [Edit?] = []
        func until(_ wanted: (TopicBatch<Edit>) -> Bool) async throws {
            while let batch = try await batches.next() {
                if batch.missed { told.append(nil) }
                #expect(batch.events.allSatisfy { $0.key == project && $0.intentId != nil })
                told += batch.events.map(\.body)
                if wanted(batch) { return }
            }
            Issue.record("the loop ended")
        }
        try await until { $0.state == .following }
        try castle.send("add_layer", OfLayer(layer: "walls"))
        try await until { _ in told.count == 1 }

        try castle.world.cut(0)
        try await until { $0.state == .interrupted }
        try castle.send("add_layer", OfLayer(layer: "roof"))
        try castle.send("remove_layer", OfLayer(layer: "walls"))
        try castle.world.heal(0)
        try await until { _ in told.count == 3 }
        #expect(told == [Edit(added: "walls"), Edit(added: "roof"), Edit(removed: "walls")])

        for try await batch in bowline.topic("voxel.nothing", on: server, as: Edit.self) where batch.state == .refused {
            #expect(batch.error == .notFound)
            break
        }

        let wrong = bowline.topic("voxel.edited", castle.params, on: server, as: [Int].self)
        await #expect(throws: SubscriptionEnded(reason: .listenerFailed)) {
            for try await batch in wrong where batch.state == .following {
                try castle.send("add_layer", OfLayer(layer: "moat"))
            }
        }
        try await bowline.shutdown()
    }
}
