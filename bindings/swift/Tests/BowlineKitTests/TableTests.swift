import BowlineFFI
import Foundation
import Observation
import Testing

@testable import BowlineKit

@Suite("A service's table, with a real daemon that has one: daemon/examples/voxel.rs", .serialized)
@MainActor
struct TableTests {
    private struct NewLayer: Encodable { let layer: String }

    private struct Project: Decodable, Sendable {
        struct Layer: Decodable, Sendable { let name: String }
        let layers: [Layer]
        var names: [String] { layers.map(\.name) }
    }

    @Test("LD-2: a row is live, stays over a cut, and a refusal says why", .timeLimit(.minutes(3)))
    func live() async throws {
        let castle = try await Castle()
        let (bowline, server, project) = (castle.bowline, castle.server, castle.project)

        let store = TableStore(
            bowline, serverId: server, name: "voxel.projects", params: ["project": project], as: Project.self)
        try await eventually("its row") { store.state == .ready }
        #expect(store.rows.map(\.key) == [project])
        #expect(store.rows.first?.value?.names == [])
        try await castle.run("add_layer", NewLayer(layer: "walls"))
        try await eventually("the layer") { store.rows.first?.value?.names == ["walls"] }
        let table = bowline.table("voxel.projects", ["project": project], on: server, as: Project.self)
        let looped = try await table.until { $0.state == .ready }
        #expect(looped.rows.first?.value?.names == ["walls"])

        try castle.world.cut(0)
        try await eventually("it may be outdated") { store.state == .stale }
        #expect(store.rows.first?.value?.names == ["walls"])
        try castle.send("add_layer", NewLayer(layer: "roof"))
        try castle.world.heal(0)
        try await eventually("both layers") {
            store.state == .ready && store.rows.first?.value?.names == ["walls", "roof"]
        }
        #expect(store.failure == nil)
        try store.refresh()
        try store.loadMore()

        let nothing = TableStore(bowline, serverId: server, name: "voxel.nothing", as: Project.self)
        try await eventually("it is refused") { nothing.state == .refused }
        #expect(nothing.error == .notFound)
        #expect(nothing.rows.isEmpty)
        try await bowline.shutdown()
    }

    private struct Layers: Codable, Sendable {
        struct Layer: Codable, Sendable {
            let name: String
            let voxels: Int
        }
        let layers: [Layer]
    }

    @Test("LD-3: a change is shown at once, also while the host is away, and a refused one says why", .timeLimit(.minutes(3)))
    func expected() async throws {
        let castle = try await Castle()
        let (bowline, server, project, params) = (castle.bowline, castle.server, castle.project, castle.params)
        let store = TableStore(bowline, serverId: server, name: "voxel.projects", params: params, as: Project.self)
        try await eventually("its row") { store.state == .ready && store.rows.count == 1 }

        try castle.world.cut(0)
        try await eventually("it may be outdated") { store.state == .stale }
        func add(_ layer: String) throws -> BowlineKit.Intent { try castle.change("add_layer", NewLayer(layer: layer)) }
        let walls = Layers(layers: [Layers.Layer(name: "walls", voxels: 0)])
        let receipt = try bowline.send(
            add("walls"), to: server,
            shows: [.merge("voxel.projects", params, key: project, walls)])
        try await eventually("the layer") { store.rows.first?.isPending == true }
        #expect(store.rows.first?.value?.names == ["walls"])
        try castle.world.heal(0)
        try await eventually("it is the daemon's") { store.state == .ready && store.rows.first?.isPending == false }
        #expect(store.rows.first?.value?.names == ["walls"])
        #expect(try await receipt.outcome().kind == .done)

        let nothing = BowlineKit.Intent.custom(
            method: "voxel.add_layer", paramsJson: #"{"project":"none","layer":"walls"}"#)
        let refused = try bowline.send(nothing, to: server, shows: [.remove("voxel.projects", params, key: project)])
        let outcome = try await refused.outcome()
        #expect(outcome.kind == .refused)
        try await eventually("it says why") { store.rows.first?.failure != nil }
        let failure = try #require(store.rows.first?.failure)
        #expect(failure.intentId == refused.id)
        guard case .refused(let detail, _) = failure.reason else { throw OutOfStep() }
        #expect(detail == outcome.detail)
        try bowline.dismiss(refused.id, on: server)
        try await eventually("it is as before") { store.rows.count == 1 && store.rows.first?.failure == nil }

        // Its outcome is not among the latest ones any more, and the receipt has it all the same.
        let later = try (0..<65).map { _ in try bowline.send(nothing, to: server, shows: []) }
        for other in later { #expect(try await other.outcome().kind == .refused) }
        #expect(try await bowline.outcome(of: receipt.id, on: server) == nil)
        #expect(try await receipt.outcome().kind == .done)

        let many = (0..<65).map { BowlineKit.Patch.upsert("voxel.projects", key: "\($0)", 1) }
        #expect(throws: BowlineError.self) { try bowline.send(add("roof"), to: server, shows: many) }
        let nobody = "00000000-0000-0000-0000-000000000000"
        #expect(try await bowline.outcome(of: nobody, on: server) == nil)
        try await bowline.shutdown()
    }

    @Test("LD-2: a value that cannot be decoded ends the loop with the reason", .timeLimit(.minutes(3)))
    func undecodable() async throws {
        let castle = try await Castle()
        let (bowline, server) = (castle.bowline, castle.server)
        let wrong = bowline.table("voxel.projects", castle.params, on: server, as: [Int].self)
        await #expect(throws: SubscriptionEnded(reason: .listenerFailed)) {
            try await wrong.until { _ in false }
        }
        try await bowline.shutdown()
    }

    private func update(
        _ base: UInt32?, _ rev: UInt32, _ changes: [ListChange], _ rows: [BowlineFFI.TableRow] = [],
        _ state: BowlineFFI.TableState = .ready
    ) -> TableUpdate {
        TableUpdate(
            baseRev: base, rev: rev, changes: changes, rows: rows, state: state, error: nil, more: .none,
            truncated: false)
    }

    private func row(_ key: String, _ json: String, omitted: UInt32? = nil) -> BowlineFFI.TableRow {
        BowlineFFI.TableRow(key: key, json: json, omittedBytes: omitted, unreadable: omitted != nil, pending: false, failure: nil)
    }

    @Test("a value is decoded once, and not where it was too large; another revision is asked for anew")
    func decodedOnce() throws {
        var (table, decoded) = (LiveTable<Int>(), [String]())
        func apply(_ update: TableUpdate) throws {
            try table.apply(update) { json in
                decoded.append(json)
                return Int(json) ?? -1
            }
        }
        try apply(update(nil, 7, [.insert(at: 0, count: 2)], [row("a", "1"), row("b", "null", omitted: 300_000)]))
        try apply(update(7, 8, [.insert(at: 2, count: 1)], [row("c", "3")]))
        try apply(update(8, 9, [.update(at: 0)], [row("a", "10")]))
        #expect(decoded == ["1", "3", "10"])
        #expect(table.rows.map(\.value) == [10, nil, 3])
        #expect(table.rows.map(\.omittedBytes) == [nil, 300_000, nil])
        #expect(table.rows.map(\.isUnreadable) == [false, true, false])
        #expect(throws: OutOfStep.self) { try apply(update(7, 10, [])) }
        #expect(throws: OutOfStep.self) { try apply(update(9, 10, [.grow(at: 0, text: "more")])) }
        try apply(update(nil, 1, [.insert(at: 0, count: 1)], [row("d", "4")]))
        #expect(table.rows.map(\.key) == ["d"])
    }

    @Test("INV-14: a table's rows are told of when they change, and not with its state")
    func granular() async throws {
        let script = Box<(@Sendable (TableUpdate) throws -> Void)?>(nil)
        let preview = PreviewData(hosts: 0, items: 0)
        let refusals = Box(1)
        let tables = Snapshots(LiveTable<Int>(), apply: { try $0.apply($1) { Int($0) ?? -1 } }) { receive in
            if refusals.change({ $0 -= 1; return $0 >= 0 }) {
                throw BowlineError.TooMany(detail: "too many tables", advice: .tryAgain, reason: nil)
            }
            script.value = receive
            return try preview.subscribeHosts(listener: HostsProxy { _ in })
        }
        let store = TableStore(tables, of: nil)
        try await eventually("it is subscribed, after it was refused at the limit") { script.value != nil }
        #expect(store.failure != nil)
        try script.value?(update(nil, 1, [.insert(at: 0, count: 1)], [row("a", "1")]))
        try await eventually("a row") { store.rows.count == 1 && store.failure == nil }
        let (rows, state) = (Flag(), Flag())
        withObservationTracking { _ = store.rows } onChange: { _ = rows.set() }
        try script.value?(update(1, 2, [], [], .stale))
        try await eventually("stale") { store.state == .stale }
        #expect(!rows.isSet, "the list is drawn anew for a state")
        withObservationTracking { _ = store.state } onChange: { _ = state.set() }
        try script.value?(update(2, 3, [.update(at: 0)], [row("a", "2")], .stale))
        try await eventually("the row") { store.rows.first?.value == 2 }
        #expect(rows.isSet)
        #expect(!state.isSet)
    }
}
