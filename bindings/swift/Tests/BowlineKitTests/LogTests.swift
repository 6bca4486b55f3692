import BowlineFFI
import Foundation
import Observation
import Testing

@testable import BowlineKit

@Suite("A service's log, with a real daemon that has one: daemon/examples/voxel.rs", .serialized)
@MainActor
struct LogTests {
    private struct Note: Codable, Equatable, Sendable {
        let by: String
        var text: String
    }

    private struct More: Encodable {
        let index: UInt32
        let text: String
    }

    @Test("LD-2: a log is a window over its history, its last items grow, it stays over a cut, and a refusal says why", .timeLimit(.minutes(3)))
    func live() async throws {
        let castle = try await Castle()
        let (bowline, server, params) = (castle.bowline, castle.server, castle.params)
        let old = try (0..<119).map { _ in try castle.send("add_note", Note(by: "ana", text: "old")) }
        // What is known of the oldest is no more than that they are done.
        for id in old { _ = try await bowline.outcome(of: id, on: server) }
        try await castle.run("add_note", Note(by: "ana", text: "A door"))

        let store = LogStore(bowline, serverId: server, name: "voxel.notes", params: params, as: Note.self) {
            $0.text += $1
        }
        try await eventually("the newest page") { store.state == .ready }
        #expect(store.items.compactMap(\.index) == Array(20..<120))
        #expect(store.kept == 0..<120)
        #expect(store.isReady)
        #expect(store.older == .more)
        try await castle.run("extend_note", More(index: 119, text: " in the wall"))
        try await eventually("it grew") { store.items.last?.value?.text == "A door in the wall" }
        try store.loadOlder()
        try await eventually("all of it") { store.items.count == 120 && store.older == .none }
        // Without saying where a value grows.
        let log = bowline.log("voxel.notes", params, on: server, as: Note.self)
        let looped = try await log.until { $0.state == .ready }
        #expect(looped.items.last?.value == Note(by: "ana", text: "A door in the wall"))

        try castle.world.cut(0)
        try await eventually("it may be outdated") { store.state == .stale }
        #expect(store.items.count == 120)
        try castle.send("extend_note", More(index: 119, text: ", and a bell"))
        try castle.send("add_note", Note(by: "ben", text: "A roof"))
        try castle.world.heal(0)
        let expected = [Note(by: "ana", text: "A door in the wall, and a bell"), Note(by: "ben", text: "A roof")]
        try await eventually("both changes") {
            store.state == .ready && store.items.suffix(2).map(\.value) == expected
        }
        #expect(store.failure == nil)
        try store.refresh()
        let decoded = try await log.until { $0.items.suffix(2).map(\.value) == expected }
        #expect(decoded.kept == 0..<121)

        let nothing = LogStore(bowline, serverId: server, name: "voxel.nothing", as: Note.self)
        try await eventually("it is refused") { nothing.state == .refused }
        #expect(nothing.error == .notFound)
        let wrong = bowline.log("voxel.notes", params, on: server, as: [Int].self)
        await #expect(throws: SubscriptionEnded(reason: .listenerFailed)) {
            try await wrong.until { _ in false }
        }
        try await bowline.shutdown()
    }

    @Test("LD-3: what is expected to be appended is shown at once, also while the host is away, or says why", .timeLimit(.minutes(3)))
    func expected() async throws {
        let castle = try await Castle()
        let (bowline, server, params) = (castle.bowline, castle.server, castle.params)
        try await castle.run("add_note", Note(by: "ana", text: "A door"))
        let store = LogStore(bowline, serverId: server, name: "voxel.notes", params: params, as: Note.self)
        try await eventually("its note") { store.state == .ready && store.items.count == 1 }

        try castle.world.cut(0)
        try await eventually("it may be outdated") { store.state == .stale }
        let note = Note(by: "ana", text: "A roof")
        let shows = [BowlineKit.Patch.append("voxel.notes", params, note)]
        let sent = try bowline.send(castle.change("add_note", note), to: server, shows: shows)
        try await eventually("the note") { store.items.count == 2 }
        #expect(store.items.last?.isPending == true)
        #expect(store.items.last?.id == "\(sent.id)/0")
        #expect(store.items.last?.index == nil)
        #expect(store.items.last?.value == note)
        try castle.world.heal(0)
        try await eventually("it is the daemon's") { store.items.last?.isPending == false }
        #expect(store.items.compactMap(\.index) == [0, 1])

        let nothing = try castle.change("extend_note", More(index: 99, text: "!"))
        let refused = try bowline.send(nothing, to: server, shows: shows)
        try await eventually("it says why") { store.items.last?.failure?.intentId == refused.id }
        try bowline.dismiss(refused.id, on: server)
        try await eventually("it is as before") { store.items.count == 2 }
        try await bowline.shutdown()
    }

    private func update(
        _ base: UInt32?, _ rev: UInt32, _ changes: [ListChange], _ rows: [JsonItem] = []
    ) -> LogUpdate {
        LogUpdate(
            baseRev: base, rev: rev, changes: changes, rows: rows, state: .ready, error: nil, older: .none,
            truncated: false, first: 4, next: 6)
    }

    private func item(_ index: UInt32, _ text: String, _ growing: String? = "text", omitted: UInt32? = nil) -> JsonItem {
        let json = omitted == nil ? #"{"by":"ana","text":"\#(text)"}"# : "null"
        return JsonItem(
            index: index, json: json, growing: growing, omittedBytes: omitted, unreadable: omitted != nil,
            id: String(index), pending: false, failure: nil)
    }

    @Test("LD-4: an item is decoded once, and one that grows is extended where its text is known", arguments: [true, false])
    func decodedOnce(isKnown: Bool) throws {
        let count = Box(0)
        var reader = ItemReader<Note>(decode: {
            count.change { $0 += 1 }
            return try decoded($0)
        })
        if isKnown { reader.growing = { $0.text += $1 } }
        var log = LiveLog<Note>()
        try log.apply(update(nil, 7, [.insert(at: 0, count: 2)], [item(4, "", omitted: 300_000), item(5, "a")]), reader: reader)
        #expect(count.value == 1)
        try log.apply(update(7, 8, [.grow(at: 1, text: " b"), .grow(at: 1, text: "\"c")]), reader: reader)
        #expect(log.items.map(\.value) == [nil, Note(by: "ana", text: "a b\"c")])
        #expect(count.value == (isKnown ? 1 : 3))
        #expect(log.items.map(\.isUnreadable) == [true, false])
        #expect(log.kept == 4..<6)
        try log.apply(update(8, 9, [.remove(at: 0, count: 1)]), reader: reader)
        #expect(log.items.map(\.index) == [5])
        #expect(throws: OutOfStep.self) { try log.apply(update(8, 10, []), reader: reader) }
        #expect(throws: OutOfStep.self) { try log.apply(update(9, 10, [.grow(at: 1, text: "more")]), reader: reader) }
        try log.apply(update(nil, 1, [.insert(at: 0, count: 1)], [item(9, "d", nil)]), reader: reader)
        #expect(log.items.map(\.index) == [9])
    }
}
