import BowlineFFI
import Foundation
import Observation
import Testing

@testable import BowlineKit

@Suite("Stores, as views see them")
@MainActor
struct StoreTests {
    @Test("a store follows on the main actor, and ends with the last view that holds it")
    func follows() async throws {
        let preview = PreviewData(hosts: 2, items: 0)
        var store: HostsStore? = HostsStore(preview.hosts)
        weak var gone = store
        try await eventually("the first value") { store?.hosts.count == 2 }
        preview.renameHost(name: "renamed")
        try await eventually("the second") { store?.hosts.first?.name == "renamed" }
        store = nil
        #expect(gone == nil, "its loop holds it")
    }

    @Test("a store without a holder lets go of its subscription")
    func letsGo() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        let ended = Box<EndReason?>(nil)
        let watched = Snapshots(.empty, apply: replaceHosts) { receive in
            let subscription = try preview.subscribeHosts(listener: HostsProxy(receive))
            Task { ended.value = await subscription.ended() }
            return subscription
        }
        var store: HostsStore? = HostsStore(watched)
        try await eventually("the first value") { store?.hosts.count == 1 }
        store = nil
        try await eventually("the subscription has ended") { ended.value != nil }
        #expect(ended.value == .cancelled)
    }

    @Test("INV-14: a line of output concerns the list and not the frame around it, and the other way round")
    func granular() async throws {
        let (folder, script) = (try Folder(), Script())
        let store = try screenStore(folder, script)
        try await eventually("it is open") { script.isOpen }
        try script.show(update(rev: 1, items: 1))
        try await eventually("the first") { store.screen.rev == 1 }
        #expect(store.overlay)
        let (frame, content) = (Flag(), Flag())
        watch(frame) { _ = store.overlay }
        watch(content) { _ = store.timeline.items.count }

        try script.show(update(rev: 2, base: 1, items: 1))
        try await eventually("the second") { store.screen.rev == 2 }
        #expect(store.timeline.items.count == 2)
        #expect(content.isSet)
        #expect(!frame.isSet, "the frame is drawn anew for a line of output")

        let again = Flag()
        watch(again) { _ = store.timeline.items.count }
        try script.show(update(rev: 3, base: 2, items: 0, overlay: false))
        try await eventually("the third") { store.screen.rev == 3 }
        #expect(!store.overlay)
        #expect(frame.isSet)
        #expect(!again.isSet, "the list is drawn anew for a toast")
        #expect(store.screen.timeline == store.timeline)
    }

    @Test("a directory's rows are told of when they change, and not with the rest")
    func directory() async throws {
        let script = Box<(@Sendable (DirectoryUpdate) throws -> Void)?>(nil)
        let preview = PreviewData(hosts: 0, items: 0)
        let store = DirectoryStore(
            Snapshots(Directory(), apply: { try $0.apply($1) }) { receive in
                script.value = receive
                return try preview.subscribeHosts(listener: HostsProxy { _ in })
            })
        try await eventually("it is subscribed") { script.value != nil }
        let row = DirectoryRow(key: "a", serverId: "srv", agent: nil, pending: nil)
        func update(_ base: UInt32?, _ rev: UInt32, rows: [DirectoryRow], loading: Bool) -> DirectoryUpdate {
            DirectoryUpdate(
                baseRev: base, rev: rev, changes: rows.isEmpty ? [] : [.insert(at: 0, count: UInt32(rows.count))],
                rows: rows, loading: loading, hosts: [])
        }
        try script.value?(update(nil, 1, rows: [row], loading: true))
        try await eventually("a row") { store.rows.count == 1 }
        let rows = Flag()
        watch(rows) { _ = store.rows }
        try script.value?(update(1, 2, rows: [], loading: false))
        try await eventually("loaded") { !store.loading }
        #expect(!rows.isSet)
    }

    @Test("a screen that the library had no room for is opened again")
    func busy() async throws {
        let (folder, script) = (try Folder(), Script())
        script.refusals.value = 1
        let store = try screenStore(folder, script)
        try await eventually("it says why") { store.failure != nil }
        try await eventually("it is opened again") { script.isOpen }
        try script.show(update(rev: 1, items: 1))
        try await eventually("all is well") { store.failure == nil && store.timeline.items.count == 1 }
    }

    @Test("UX-3: nothing can be sent to an agent that has no name yet, and the error says to wait")
    func unnamed() throws {
        let (folder, script) = (try Folder(), Script())
        let store = try screenStore(folder, script)
        do {
            try store.send("hello")
            Issue.record("it was sent to nobody")
        } catch let error as BowlineError {
            #expect(error.advice == .wait)
        }
    }

    /// Notes the next change of what is read.
    private func watch(_ changed: Flag, _ read: () -> Void) {
        withObservationTracking(read) { _ = changed.set() }
    }

    private func screenStore(_ folder: Folder, _ script: Script) throws -> AgentScreenStore {
        let bowline = try Bowline(config(folder.path), platform: NoPlatform())
        return AgentScreenStore(
            bowline, serverId: "srv", target: .creation(intentId: "int"), screens: script.screens)
    }

    private func update(rev: UInt32, base: UInt32? = nil, items: Int, overlay: Bool = true) -> ScreenUpdate {
        let new = (0..<items).map { n in
            TimelineItem(
                id: "itm_\(rev)_\(n)", index: rev, kind: .output, at: Date(timeIntervalSince1970: 0), text: "line", droppedBytes: 0,
                stream: nil, status: nil, exitCode: nil, intentId: nil)
        }
        // The timeline has a revision of its own: it stays what it was where nothing is new.
        let timeline = TimelineUpdate(
            baseRev: base, rev: items > 0 ? rev : (base ?? 0),
            changes: items > 0 ? [.insert(at: base ?? 0, count: UInt32(items))] : [], rows: new, pending: nil,
            failed: nil, loaded: true, catchingUp: false, older: .none, newer: .none, replaced: 0, error: nil)
        return ScreenUpdate(
            rev: rev, serverId: "srv", agentId: nil, agent: nil, creation: .pending, creating: nil, creationFailed: nil,
            overlay: overlay, toast: nil, placeholder: false, errorIndicator: nil, composerEnabled: true, readOnly: nil,
            connectivity: .online, connectionError: nil, timeline: timeline)
    }
}

/// A screen that shows what a test says.
private final class Script: Sendable {
    let refusals = Box(0)
    private let preview = PreviewData(hosts: 0, items: 0)
    private let receive = Box<(@Sendable (ScreenUpdate) throws -> Void)?>(nil)

    var isOpen: Bool { receive.value != nil }

    func show(_ update: ScreenUpdate) throws { try receive.value?(update) }

    var screens: Snapshots<AgentScreen> {
        Snapshots(AgentScreen(serverId: "srv"), apply: { try $0.apply($1) }) { receive in
            if self.refusals.change({ $0 -= 1; return $0 >= 0 }) {
                throw BowlineError.TooMany(detail: "too many screens", advice: .tryAgain, reason: nil)
            }
            self.receive.value = receive
            return try self.preview.subscribeHosts(listener: HostsProxy { _ in })
        }
    }

    @Test("artificial tables, logs and screens change as real ones do, for previews")
    @MainActor
    func previews() async throws {
        let data = PreviewData(hosts: 0, items: 2)
        let (table, log) = (TableStore(data.table("t", as: Int.self)), LogStore(data.log("l", as: Int.self)))
        try await eventually("it is loading") { table.isReady && table.state == .loading }
        try data.showTable(name: "t", rows: [PreviewRow("b", 2, refused: "no room"), PreviewRow("a", 1, pending: true)])
        try await eventually("the rows") { table.state == .ready }
        #expect(table.rows.map(\.value) == [1, 2])
        #expect(table.rows.map(\.isPending) == [true, false])
        guard case .refused("no room", _) = table.rows.last?.failure?.reason else { throw OutOfStep() }
        try data.changeRow(name: "t", row: PreviewRow("b", 3))
        try await eventually("the changed row") { table.rows.map(\.value) == [1, 3] }
        try data.showTable(name: "t", rows: [])
        try await eventually("none") { table.state == .empty && table.rows.isEmpty }
        try data.showLog("l", [7], state: .stale)
        try await eventually("the item") { log.state == .stale && log.items.map(\.value) == [7] && log.kept == 0..<1 }
        #expect(throws: BowlineError.self) { try data.showLog(name: "l", items: ["no JSON"]) }
        try table.loadMore()

        let screen = AgentScreenStore(data.screen())
        try await eventually("the screen") { screen.timeline.items.count == 2 && screen.composerEnabled }
        data.showScreen(moment: .loading)
        try await eventually("the overlay") { screen.overlay }
        data.showScreen(moment: .reconnecting)
        try await eventually("the toast") { screen.toast == .reconnecting && !screen.overlay }
        data.showScreen(moment: .archived)
        try await eventually("no composer") { screen.readOnly == .archived }
        #expect(throws: BowlineError.self) { try screen.send("hello") }
    }
}
