import Foundation
import Testing

@testable import BowlineKit

@Suite("What a screen shows over a user's day, against the real daemon and relay", .serialized)
@MainActor
struct ScreenScenarioTests {
    private func open(_ folder: Folder) throws -> Bowline {
        try Bowline(config(folder.path), platform: NoPlatform())
    }

    @Test(
        "UX-1, UX-2: covered at the first open only, and not after a cut, a path switch or a restart of the daemon",
        .timeLimit(.minutes(5)))
    func reopened() async throws {
        let (world, folder) = (try World(), try Folder())
        let first = try open(folder)
        let server = try await first.pair(world.offer(0, 2)).serverId
        let agentId = try await first.agent(on: server, in: folder)
        try await first.shutdown()

        // The app is started again, with no way to its host: the history was never loaded in this run.
        try world.cut(0)
        try world.cut(2)
        let bowline = try open(folder)
        let screens = bowline.screen(on: server, of: .agent(agentId: agentId))
        let day = Recorded(screens)
        try await day.until("it is covered") { $0.overlay }
        try world.heal(0)
        try await day.until("it is there") { $0.timeline.loaded && !$0.overlay && $0.isCalm }
        let covered = day.shown.prefix { !$0.timeline.loaded }
        #expect(covered.allSatisfy { $0.toast == nil && !$0.placeholder }, "something over or under an overlay")
        let loaded = day.shown.count - 1

        // UX-2: open once more, while the first one is: content at once.
        try await reopen(screens) { $0.isCalm }
        // The path switches.
        try world.heal(2)
        try world.cut(0)
        try await bowline.online(.relay)
        try await reopen(screens) { $0.connectivity == .online && $0.toast == nil }
        // The daemon is gone.
        try world.killDaemon()
        try await reopen(screens) { $0.connectivity != .online }
        // It says that it is behind, while nothing can change that.
        try await day.until("it is behind") { $0.toast != nil || $0.errorIndicator != nil }
        try world.heal(0)
        try world.startDaemon()
        try await reopen(screens) { $0.connectivity == .online && $0.toast == nil }

        try await day.until("the screen that stayed open is as well") { $0.connectivity == .online && $0.toast == nil }
        let after = day.shown[loaded...]
        #expect(after.allSatisfy { !$0.overlay && $0.isCalm }, "content that was there was covered or gone")
        #expect(try world.sessions() == 1)
        try await bowline.shutdown()
    }

    /// Opens a screen whose content is loaded, until it shows what it is to.
    private func reopen(_ screens: Snapshots<AgentScreen>, until fits: @escaping @Sendable (AgentScreen) -> Bool) async throws {
        let shown = Box<[AgentScreen]>([])
        _ = try await screens.until { screen in
            shown.change { $0.append(screen) }
            return fits(screen)
        }
        #expect(shown.value.allSatisfy { !$0.overlay && $0.isCalm }, "an overlay, or no content, in \(shown.value)")
    }

    @Test("UX-3: a message is shown at once, reconciled by its intent, and rolled back where it is refused", .timeLimit(.minutes(3)))
    func messages() async throws {
        let (world, folder) = (try World(), try Folder())
        let bowline = try open(folder)
        let server = try await bowline.pair(world.offer(0)).serverId
        let agentId = try await bowline.agent(on: server, in: folder)
        let screens = bowline.screen(on: server, of: .agent(agentId: agentId))
        let day = Recorded(screens)
        try await day.until("it is there") { $0.timeline.loaded && $0.isCalm }

        // Held back, so that what is optimistic is seen.
        try world.cut(0)
        _ = try await bowline.hosts.until { $0.hosts[0].state != .online }
        let taken = try bowline.send(.sendPrompt(agentId: agentId, text: "taken"), to: server)
        try await day.until("it is shown") { $0.timeline.pending.map(\.intentId) == [taken] }
        try world.heal(0)
        try await day.until("it is done") { $0.isCalm && $0.timeline.items.contains { $0.intentId == taken } }
        for screen in day.shown {
            let items = screen.timeline.items.filter { $0.intentId == taken && $0.kind == .user }.count
            let pending = screen.timeline.pending.filter { $0.intentId == taken }.count
            #expect(items + pending <= 1, "a message is shown twice")
        }
        let from = try #require(day.shown.firstIndex { !$0.timeline.pending.isEmpty })
        #expect(day.shown[from...].allSatisfy { screen in
            screen.timeline.pending.contains { $0.intentId == taken } || screen.timeline.items.contains { $0.intentId == taken }
        }, "a message was gone for a moment")

        // The daemon takes no prompts for an agent that is archived.
        try world.cut(0)
        _ = try await bowline.hosts.until { $0.hosts[0].state != .online }
        try bowline.send(.archive(agentId: agentId), to: server)
        let refused = try bowline.send(.sendPrompt(agentId: agentId, text: "refused"), to: server)
        try await day.until("it is shown") { $0.timeline.pending.contains { $0.intentId == refused } }
        try world.heal(0)
        let screen = try await day.until("it is rolled back") { $0.timeline.failed.map(\.intentId) == [refused] }
        #expect(screen.timeline.pending.isEmpty)
        #expect(!screen.timeline.items.contains { $0.intentId == refused })
        guard case .refused(let detail, _) = screen.timeline.failed[0].failure else {
            Issue.record("\(screen.timeline.failed[0])")
            return
        }
        #expect(detail.contains("archived"))
        try bowline.dismiss(refused, on: server)
        try await day.until("it is dismissed") { $0.timeline.failed.isEmpty }
        try await bowline.shutdown()
    }

    @Test("a paused app refuses intents with a typed error, and goes on as the same session", .timeLimit(.minutes(3)))
    func paused() async throws {
        let (world, folder, platform) = (try World(), try Folder(), HandPlatform())
        let bowline = try Bowline(config(folder.path), platform: platform)
        let server = try await bowline.pair(world.offer(0)).serverId
        let agentId = try await bowline.agent(on: server, in: folder)
        let life = AppLife(try #require(platform.target.value))
        await withCheckedContinuation { paused in life.enterBackground { paused.resume() } }
        do {
            try bowline.send(.sendPrompt(agentId: agentId, text: "asleep"), to: server)
            Issue.record("it was taken while paused")
        } catch let error as BowlineError {
            guard case .Paused = error else { throw error }
            #expect(error.advice == .wait)
        }
        life.enterForeground()
        // Until the pause is over.
        let sent = try await within {
            while true {
                do {
                    return try bowline.send(.sendPrompt(agentId: agentId, text: "awake"), to: server)
                } catch BowlineError.Paused {
                    try await Task.sleep(for: .milliseconds(1))
                }
            }
        }
        let done = try await bowline.screen(on: server, of: .agent(agentId: agentId)).until {
            $0.isCalm && $0.timeline.items.contains { $0.intentId == sent }
        }
        #expect(!done.timeline.items.contains { $0.text == "asleep" })
        #expect(try world.sessions() == 1)
        try await bowline.shutdown()
    }

    @Test("a pairing that fails says why and what to do, and stores nothing", .timeLimit(.minutes(3)))
    func pairing() async throws {
        let (world, folder) = (try World(), try Folder())
        let bowline = try open(folder)
        let offer = try world.offer(0)
        try await bowline.pair(offer)
        let other = try open(try Folder())
        do {
            try await other.pair(offer)
            Issue.record("an offer was good for two")
        } catch let error as BowlineError {
            guard case .PairingRefused = error else { throw error }
            #expect(error.reason == .pairingTokenInvalid)
            #expect(error.advice == .pairAgain)
        }
        let unreachable = try world.offer(1)
        try world.cut(1)
        do {
            try await other.pair(unreachable)
            Issue.record("it paired with nobody")
        } catch let error as BowlineError {
            guard case .Unreachable = error else { throw error }
            #expect(error.advice == .tryAgain)
            #expect(error.reason != nil)
        }
        #expect(try await other.hosts.until { _ in true }.hosts.isEmpty)
        try await other.shutdown()
        try await bowline.shutdown()
    }
}

/// All that a screen shows, for as long as it is held.
private final class Recorded: Sendable {
    private let all = Box<[AgentScreen]>([])
    private let task: Task<Void, any Error>

    init(_ screens: Snapshots<AgentScreen>) {
        let all = all
        task = Task.detached { for try await screen in screens { all.change { $0.append(screen) } } }
    }

    deinit {
        task.cancel()
    }

    var shown: [AgentScreen] { all.value }

    /// Waits until one fits: the newest, or one that comes after it, however soon it is replaced.
    @MainActor
    @discardableResult
    func until(_ what: String, _ fits: (AgentScreen) -> Bool) async throws -> AgentScreen {
        var next = max(shown.count - 1, 0)
        var found: AgentScreen?
        do {
            try await eventually(what) {
                let new = shown[next...]
                next = new.endIndex
                found = new.first(where: fits)
                return found != nil
            }
            return try #require(found)
        } catch let late as Late {
            throw Late(description: "\(late); the last one was \(String(describing: shown.last))")
        }
    }
}
