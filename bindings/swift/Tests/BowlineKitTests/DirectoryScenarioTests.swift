import Foundation
import Testing

@testable import BowlineKit

@Suite("The agents of all hosts in one list, against real daemons", .serialized)
@MainActor
struct DirectoryScenarioTests {
    @Test(
        "DS-2, UX-3: two hosts are one list, which a lost host does not block and a creation joins at once",
        .timeLimit(.minutes(3)))
    func merged() async throws {
        let (near, far, folder) = (try World(), try World(), try Folder())
        let bowline = try Bowline(config(folder.path), platform: NoPlatform())
        let store = DirectoryStore(bowline)
        let first = try await bowline.pair(near.offer(0)).serverId
        let second = try await bowline.pair(far.offer(0)).serverId
        try await eventually("both are listed") {
            store.hosts.count == 2 && store.hosts.allSatisfy { $0.state == .ready } && !store.loading
        }
        #expect(store.rows.isEmpty)
        for server in [first, second] {
            let create = Intent.createAgent(provider: "cat", cwd: folder.path, title: nil, prompt: "hello")
            try bowline.send(create, to: server)
        }
        try await eventually("an agent of each") { store.rows.filter { $0.agent != nil }.count == 2 }
        #expect(Set(store.rows.map(\.serverId)) == [first, second])

        // A lost host keeps its rows, and nothing loads: errors after a first success never block.
        try far.killDaemon()
        _ = try await bowline.hosts.until { snapshot in
            snapshot.hosts.contains { $0.serverId == second && $0.state != .online }
        }
        try bowline.refresh()
        #expect(store.rows.count == 2)
        #expect(!store.loading)

        // What is created meanwhile is a row of its own, and stays one when the daemon has named it.
        let counts = Box<Set<Int>>([])
        let watching = Task {
            for try await directory in bowline.directory { counts.change { _ = $0.insert(directory.rows.count) } }
        }
        let create = Intent.createAgent(provider: "cat", cwd: folder.path, title: "Later", prompt: nil)
        let intent = try bowline.send(create, to: second)
        try await eventually("it is shown") { store.rows.contains { $0.pending?.intentId == intent } }
        try far.startDaemon()
        try await eventually("it is there") { store.rows.contains { $0.agent?.title == "Later" } }
        #expect(store.rows.count == 3)
        #expect(!store.rows.contains { $0.pending != nil })
        #expect(counts.value.isSubset(of: [2, 3]), "\(counts.value)")
        watching.cancel()

        #expect(try await bowline.forget(second))
        try await eventually("its rows are gone") { store.rows.map(\.serverId) == [first] }
        #expect(store.hosts.map(\.serverId) == [first])
        try await bowline.shutdown()
    }
}
