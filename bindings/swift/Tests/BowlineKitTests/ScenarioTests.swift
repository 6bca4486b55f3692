import Foundation
import Testing

@testable import BowlineKit

@Suite("The whole line, against the real daemon and relay", .serialized)
@MainActor
struct ScenarioTests {
    private struct SystemInfo: Decodable { let serverId: String }

    private func open(_ folder: Folder) throws -> Bowline {
        try Bowline(config(folder.path), platform: NoPlatform())
    }

    private nonisolated static func output(_ screen: AgentScreen) -> String {
        screen.timeline.items.filter { $0.kind == .output }.map(\.text).joined()
    }

    private nonisolated static func ended(_ screen: AgentScreen) -> Bool {
        screen.timeline.items.last?.kind == .turnEnd
    }

    @Test(
        "INV-2, INV-6, BX-1, BX-5: pair, attach, run, cut, resume on the relay, restart: same session, same timeline",
        .timeLimit(.minutes(5)))
    func story() async throws {
        let (world, folder) = (try World(), try Folder())
        let lines = (1...150).map { "line \($0)\n" }.joined()
        let (server, agentId, before) = try await firstLife(world, folder, lines)

        // The app is started again; only the relay is left.
        let bowline = try open(folder)
        #expect(try await bowline.online(.relay).serverId == server)
        let store = AgentScreenStore(bowline, serverId: server, agentId: agentId)
        try await eventually("the timeline is there again") {
            store.screen.timeline.loaded && Self.ended(store.screen)
        }
        #expect(store.screen.timeline.items == before.timeline.items)
        #expect(store.screen.creation == .none)
        #expect(try world.sessions() == 1)

        // A prompt sent while nothing is there is shown, kept, and done once a path is back.
        let count = before.timeline.items.count
        try world.cut(2)
        _ = try await bowline.hosts.until { $0.hosts[0].state != .online }
        let sent = try store.send("2")
        try await eventually("the prompt is shown") {
            store.screen.timeline.pending.contains { $0.intentId == sent }
        }
        try world.heal(0)
        try await eventually("the prompt is done") {
            let timeline = store.screen.timeline
            return timeline.pending.isEmpty && timeline.items.count > count && Self.ended(store.screen)
        }
        #expect(store.screen.timeline.items.filter { $0.intentId == sent && $0.kind == .user }.count == 1)
        #expect(try world.sessions() == 1)
        try await bowline.shutdown()
    }

    /// From pairing to the end of the app.
    private func firstLife(
        _ world: World, _ folder: Folder, _ lines: String
    ) async throws -> (server: String, agentId: String, AgentScreen) {
        let bowline = try open(folder)
        let server = try await bowline.pair(world.offer(0, 2)).serverId
        let generation = try await bowline.online(.direct).generation
        #expect(try await bowline.providers(of: server).contains { $0.name == "stream" })
        #expect(try await bowline.query("system.info", of: server, as: SystemInfo.self).serverId == server)
        await #expect(throws: BowlineError.self) {
            try await bowline.query("agents.list", ["limit": "all"], of: server, as: SystemInfo.self)
        }

        // UX-3: shown at once, without an overlay, and the same screen goes on.
        let create = Intent.createAgent(provider: "stream", cwd: folder.path, title: "Lines", prompt: "150")
        let intent = try bowline.send(create, to: server)
        let shown = Box<[AgentScreen]>([])
        let screens = bowline.screen(on: server, of: .creation(intentId: intent))
        let recording = Task { for try await screen in screens { shown.change { $0.append(screen) } } }
        let agentId = try await screens.until { $0.agentId != nil }.agentId ?? ""
        _ = try await screens.until { Self.output($0).split(separator: "\n").count > 20 }

        try world.cut(0)
        #expect(try await bowline.online(.relay).generation > generation)
        let before = try await screens.until(Self.ended)
        #expect(Self.output(before) == lines)
        #expect(try world.sessions() == 1)
        recording.cancel()
        _ = await recording.result
        #expect(!shown.value.contains { $0.overlay }, "an overlay over an optimistic creation")
        let revs = shown.value.map(\.rev)
        #expect(zip(revs, revs.dropFirst()).allSatisfy { $0 <= $1 })
        let directory = try await bowline.directory.until { list in list.rows.contains { $0.agent?.id == agentId } }
        #expect(directory.rows.count == 1)

        // UX-2: re-opened, it is there.
        let again = Box<[AgentScreen]>([])
        for try await screen in bowline.screen(on: server, of: .agent(agentId: agentId)) {
            again.change { $0.append(screen) }
            if Self.output(screen) == lines { break }
        }
        #expect(!again.value.contains { $0.overlay }, "an overlay over what is loaded")
        try await bowline.shutdown()
        return (server, agentId, before)
    }

    @Test("UX-3: a creation that is refused is rolled back with its error, until it is dismissed", .timeLimit(.minutes(3)))
    func refused() async throws {
        let (world, folder) = (try World(), try Folder())
        let bowline = try open(folder)
        let store = HostsStore(bowline)
        let server = try await bowline.pair(world.offer(0)).serverId
        try await bowline.online()
        let create = Intent.createAgent(provider: "no such provider", cwd: folder.path, title: nil, prompt: "hello")
        let intent = try bowline.send(create, to: server)
        let failed = try await bowline.screen(on: server, of: .creation(intentId: intent)).until { $0.creation == .failed }
        #expect(failed.creationFailed != nil)
        #expect(failed.agentId == nil)
        try await eventually("it is listed") { store.hosts.first?.failedAgents.count == 1 }
        try bowline.dismiss(intent, on: server)
        try await eventually("it is dismissed") { store.hosts.first?.failedAgents.isEmpty == true }
        #expect(try await bowline.forget(server))
        try await eventually("the host is gone") { store.hosts.isEmpty }
        try await bowline.shutdown()
    }
}
