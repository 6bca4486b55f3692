import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("What the hand-written part promises by itself")
struct ContractTests {
    @Test("a list of another revision is asked for anew")
    func directory() throws {
        func row(_ key: String) -> DirectoryRow { DirectoryRow(key: key, serverId: "srv", agent: nil, pending: nil) }
        func update(_ base: UInt32?, _ rev: UInt32, _ changes: [ListChange], _ keys: String...) -> DirectoryUpdate {
            DirectoryUpdate(
                baseRev: base, rev: rev, changes: changes, rows: keys.map(row), loading: false, hosts: [])
        }
        var list = Directory()
        try list.apply(update(nil, 7, [.insert(at: 0, count: 3)], "a", "b", "c"))
        let changes: [ListChange] = [
            .remove(at: 1, count: 1), .insert(at: 0, count: 1), .update(at: 1), .insert(at: 3, count: 1),
        ]
        try list.apply(update(7, 9, changes, "d", "A", "e"))
        #expect(list.rows.map(\.key) == ["d", "A", "c", "e"])
        #expect(throws: OutOfStep.self) { try list.apply(update(7, 10, [])) }
        for misfit: ListChange in [.grow(at: 0, text: "more"), .insert(at: 0, count: 2)] {
            var held = list
            #expect(throws: OutOfStep.self) { try held.apply(update(9, 10, [misfit], "x")) }
        }
        try list.apply(update(nil, 1, [.insert(at: 0, count: 1)], "f"))
        #expect(list.rows.map(\.key) == ["f"])
    }

    @Test("BX-6: an appended item crosses alone, however long the history", arguments: [100, 10_000] as [UInt32])
    func appended(history: UInt32) async throws {
        let preview = PreviewData(hosts: 1, items: history)
        let (held, crossed) = (Box(Timeline()), Box<[TimelineUpdate]>([]))
        let subscription = try preview.subscribeTimeline(
            listener: TimelineProxy { update in
                try held.change { timeline in Result { try timeline.apply(update) } }.get()
                crossed.change { $0.append(update) }
            })
        try await within { while held.value.items.count < history { try await Task.sleep(for: .milliseconds(1)) } }
        preview.append(text: "one more")
        try await within { while held.value.items.count == history { try await Task.sleep(for: .milliseconds(1)) } }
        preview.grow(text: " and more")
        try await within {
            while held.value.items.last?.text != "one more and more" { try await Task.sleep(for: .milliseconds(1)) }
        }
        let updates = crossed.value.dropFirst()
        #expect(updates.map(\.changes.count) == [1, 1])
        #expect(updates.allSatisfy { $0.baseRev != nil })
        subscription.cancel()
    }

    @Test("a revision that went round is newer")
    func revisions() {
        func at(_ rev: UInt32) -> HostsSnapshot { HostsSnapshot(rev: rev, hosts: [], pairings: []) }
        #expect(at(4).isOlder(than: at(5)))
        #expect(!at(6).isOlder(than: at(5)))
        #expect(!at(1).isOlder(than: at(.max)))
        var held = HostsSnapshot.empty
        replaceHosts(&held, at(.max))
        #expect(held.rev == .max, "nothing is older than nothing")
    }

    @Test("an update that does not fit is refused, and a whole one is taken after it")
    func misfits() throws {
        func update(
            _ base: UInt32?, _ rev: UInt32, _ changes: [ListChange], _ rows: [TimelineItem] = []
        ) -> TimelineUpdate {
            TimelineUpdate(
                baseRev: base, rev: rev, changes: changes, rows: rows, pending: nil, failed: nil, loaded: true,
                catchingUp: false, older: .none, newer: .none, replaced: 0, error: nil)
        }
        func item(_ index: UInt32) -> TimelineItem {
            TimelineItem(
                id: "itm_\(index)", index: index, kind: .message, atMs: 0, text: "", droppedBytes: 0,
                stream: nil, status: nil, exitCode: nil, intentId: nil)
        }
        let misfits: [ListChange] = [
            .remove(at: 0, count: 2), .insert(at: 2, count: 1), .update(at: 1),
            .grow(at: 1, text: "more"),
        ]
        for misfit in misfits {
            var timeline = Timeline()
            try timeline.apply(update(nil, 4, [.insert(at: 0, count: 1)], [item(0)]))
            #expect(throws: OutOfStep.self) { try timeline.apply(update(4, 5, [misfit], [item(9)])) }
            #expect(throws: OutOfStep.self) { try timeline.apply(update(3, 5, [])) }
            #expect(timeline.rev == 4)
            try timeline.apply(update(nil, 5, [.insert(at: 0, count: 2)], [item(0), item(1)]))
            #expect(timeline.items.map(\.index) == [0, 1])
        }
    }

    @Test("an error says what to do, whatever its kind")
    func advice() {
        let refused = BowlineError.PairingRefused(detail: "used", advice: .pairAgain, reason: .pairingTokenInvalid)
        #expect(refused.advice == .pairAgain)
        #expect(refused.reason == .pairingTokenInvalid)
        #expect(refused.detail == "used")
    }

    @Test("what the library logs is heard, up to the level that was asked for")
    func logs() async throws {
        let heard = Task {
            for try await batch in Logs.batches(.warn) {
                if let record = batch.records.first(where: { $0.message.contains("a callback failed") }) { return record }
            }
            throw Late(description: "the log ended")
        }
        let preview = PreviewData(hosts: 1, items: 0)
        let failing = try preview.subscribeHosts(listener: HostsProxy { _ in throw Late(description: "deliberate") })
        let names = Task {
            while !Task.isCancelled {
                preview.renameHost(name: UUID().uuidString)
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        let record = try await within { try await heard.value }
        #expect(record.level == .warn)
        names.cancel()
        failing.cancel()
    }
}
