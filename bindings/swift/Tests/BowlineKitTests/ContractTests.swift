import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("What the hand-written part promises by itself")
struct ContractTests {
    @Test("INV-7: platform events come from the observer, and end with it")
    func observer() async throws {
        let folder = try Folder()
        let platform = HandPlatform()
        let bowline = try Bowline(config(folder.path), platform: platform)
        platform.target.value?.tell(.background)
        platform.target.value?.tell(.foreground)
        bowline.close()
        #expect(platform.ended.isSet)
        // A platform that is late does no harm.
        platform.target.value?.tell(.networkChanged)
    }

    @Test("a paused app lets go of its files, and another can have them")
    func pausing() async throws {
        let folder = try Folder()
        let platform = HandPlatform()
        let bowline = try Bowline(config(folder.path), platform: platform)
        let target = try #require(platform.target.value)
        try await target.pause()
        do {
            try await bowline.forget("srv_n2kjrqwbsjavrpwflguf4ecx4m")
            Issue.record("it forgot while paused")
        } catch BowlineError.Paused {}
        try await Bowline(config(folder.path), platform: NoPlatform()).shutdown()
        try await target.resume()
        try bowline.refresh()
    }

    @Test("a change of the machine's addresses is told")
    func addresses() async throws {
        let (addresses, told) = (Box<Set<String>>(["192.0.2.1"]), Flag())
        let observer = NetworkAddressObserver(every: .milliseconds(2)) { addresses.value }
        let observing = observer.observe(Told { if $0 == .networkChanged { _ = told.set() } })
        try await within {
            // Until the observer has looked at the first set: it tells of changes only.
            while !told.isSet {
                addresses.value = ["192.0.2.\(UInt8.random(in: 2...255))"]
                try await Task.sleep(for: .milliseconds(2))
            }
        }
        observing.end()
    }

    @Test("a list of another revision is asked for anew")
    func directory() throws {
        func row(_ key: String) -> DirectoryRow { DirectoryRow(key: key, serverId: "srv", agent: nil, pending: nil) }
        func update(
            _ base: UInt32?, _ rev: UInt32, removed: [String] = [], upserts: [DirectoryRow] = [], order: [String]? = nil
        ) -> DirectoryUpdate {
            DirectoryUpdate(
                baseRev: base, rev: rev, removed: removed, upserts: upserts, order: order, loading: false, hosts: [])
        }
        var list = Directory()
        try list.apply(update(nil, 7, upserts: [row("a"), row("b"), row("c")]))
        try list.apply(update(7, 9, removed: ["b"], upserts: [row("d")], order: ["d", "c", "a"]))
        #expect(list.rows.map(\.key) == ["d", "c", "a"])
        #expect(throws: OutOfStep.self) { try list.apply(update(7, 10)) }
        try list.apply(update(nil, 1, upserts: [row("e")]))
        #expect(list.rows.map(\.key) == ["e"])
    }

    @Test("BX-6: an appended item crosses alone, however long the history", arguments: [100, 10_000] as [UInt32])
    func appended(history: UInt32) async throws {
        let rehearsal = Rehearsal(hosts: 1, items: history)
        let (held, crossed) = (Box(Timeline()), Box<[TimelineUpdate]>([]))
        let subscription = try rehearsal.subscribeTimeline(
            listener: TimelineProxy { update in
                try held.change { timeline in Result { try timeline.apply(update) } }.get()
                crossed.change { $0.append(update) }
            })
        try await within { while held.value.items.count < history { try await Task.sleep(for: .milliseconds(1)) } }
        rehearsal.append(text: "one more")
        try await within { while held.value.items.count == history { try await Task.sleep(for: .milliseconds(1)) } }
        rehearsal.grow(text: " and more")
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
        func at(_ rev: UInt32) -> HostsSnapshot { HostsSnapshot(rev: rev, hosts: []) }
        #expect(at(4).isOlder(than: at(5)))
        #expect(!at(6).isOlder(than: at(5)))
        #expect(!at(1).isOlder(than: at(.max)))
    }

    @Test("a store follows on the main actor, and ends with the last view that holds it")
    @MainActor
    func store() async throws {
        let rehearsal = Rehearsal(hosts: 2, items: 0)
        var store: HostsStore? = HostsStore(rehearsal.hosts)
        weak var gone = store
        try await eventually("the first value") { store?.hosts.count == 2 }
        rehearsal.renameHost(name: "renamed")
        try await eventually("the second") { store?.hosts.first?.name == "renamed" }
        store = nil
        try await eventually("it is gone") { gone == nil }
    }
}

/// A platform that a test plays.
final class HandPlatform: PlatformObserver {
    let target = Box<(any PlatformTarget)?>(nil)
    let ended = Flag()

    func observe(_ target: any PlatformTarget) -> Observing {
        self.target.value = target
        let ended = ended
        return Observing { _ = ended.set() }
    }
}

/// Hears what is told.
struct Told: PlatformTarget {
    let hear: @Sendable (PlatformEvent) -> Void

    func tell(_ event: PlatformEvent) { hear(event) }
    func pause() async throws {}
    func resume() async throws {}
}
