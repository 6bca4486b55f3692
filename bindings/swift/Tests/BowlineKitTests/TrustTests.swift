import Foundation
import Testing

@testable import BowlineKit

@Suite("What an app must show when a daemon refuses this device, or is not the one it was", .serialized)
@MainActor
struct TrustTests {
    /// A daemon, and an app with the stores that its views read.
    @MainActor
    private final class Story {
        let world: World
        let folder: Folder
        let platform = HandPlatform()
        let bowline: Bowline
        let hosts: HostsStore

        init(_ world: World? = nil) throws {
            (self.world, folder) = (try world ?? World(), try Folder())
            bowline = try Bowline(config(folder.path), platform: platform)
            hosts = HostsStore(bowline)
        }

        /// The user leaves the app and comes back.
        func comesBack() {
            platform.target.value?.tell(.background)
            platform.target.value?.tell(.foreground)
        }

        @discardableResult
        func host(_ what: String, _ fits: (HostSnapshot) -> Bool) async throws -> HostSnapshot {
            try await eventually("\(what); the hosts are \(hosts.hosts)") { hosts.hosts.count == 1 && fits(hosts.hosts[0]) }
            return hosts.hosts[0]
        }

        @discardableResult
        func online() async throws -> HostSnapshot {
            try await host("it is online") { $0.state == .online }
        }

        /// The error with which the host waits for somebody to act.
        func refusal() async throws -> ErrorInfo? {
            try await host("it is refused") { $0.state == .error }.lastError
        }

        /// The code of the pairing in progress.
        func code() async throws -> String {
            try await eventually("the code is shown") { hosts.pairings.count == 1 && hosts.pairings[0].code != nil }
            return hosts.pairings[0].code ?? ""
        }

        /// The error of a pairing that must be refused.
        func refused(_ offer: String) async throws -> BowlineError {
            do {
                try await bowline.pair(offer)
            } catch let error as BowlineError {
                guard case .PairingRefused = error else { throw error }
                return error
            }
            throw Late(description: "it has paired")
        }
    }

    private func expect(_ error: ErrorInfo?, says reason: Reason, _ advice: Advice, _ line: SourceLocation = #_sourceLocation) {
        #expect(error?.reason == reason && error?.advice == advice, "\(String(describing: error))", sourceLocation: line)
        #expect(error?.detail.isEmpty == false, sourceLocation: line)
    }

    /// The prompt of a screen is done, once.
    private func done(_ prompt: String, in store: AgentScreenStore) async throws {
        try await eventually("it is done") {
            store.screen.isCalm && store.timeline.items.contains { $0.intentId == prompt }
        }
        #expect(store.timeline.items.filter { $0.text == "for the right one" }.count == 1)
    }

    @Test(
        "TR-3: the app shows the code that the daemon's owner compares, the yes and the no, and who else has paired",
        .timeLimit(.minutes(3)))
    func approved() async throws {
        let story = try Story()
        let (bowline, offer) = (story.bowline, try story.world.offer(0, ask: true))
        let pairing = Task { try await bowline.pair(offer) }
        let code = try await story.code()
        #expect(code.count == 6 && code.allSatisfy { $0.isASCII && $0.isNumber })
        #expect(story.hosts.hosts.isEmpty, "nothing is stored before the yes")
        let asked = story.hosts.pairings[0].serverId
        // The world finds the device by the code, so both sides have the same one.
        try story.world.order(#"{"do":"approve","code":"\#(code)"}"#)
        #expect(try await pairing.value.serverId == asked)
        #expect(try await story.online().grant?.role == .owner)
        try await eventually("it is over") { story.hosts.pairings.isEmpty }

        let other = try Story(story.world)
        let again = try story.world.offer(0, ask: true)
        let unwanted = Task { try await other.refused(again) }
        try story.world.order(#"{"do":"refuse","code":"\#(try await other.code())"}"#)
        let error = try await unwanted.value
        #expect(error.reason == .pairingRefused && error.advice == .pairAgain)
        try await eventually("it is over") { other.hosts.pairings.isEmpty }
        #expect(other.hosts.hosts.isEmpty)
        try await other.bowline.pair(story.world.offer(0))
        #expect(try await story.host("it is told") { $0.lastPaired != nil }.lastPaired?.role == .owner)
        try await other.bowline.shutdown()
        try await bowline.shutdown()
    }

    @Test("TR-4, TR-5: a device sees its role, what that refuses, and that it was revoked", .timeLimit(.minutes(3)))
    func granted() async throws {
        let story = try Story()
        let server = try await story.bowline.pair(story.world.offer(0)).serverId
        #expect(try await story.online().grant?.role == .owner)
        try story.world.order(#"{"do":"grant","role":"viewer"}"#)
        try await story.host("the role is there") { $0.grant?.role == .viewer }
        let create = Intent.createAgent(provider: "cat", cwd: story.folder.path, title: nil, prompt: "hello")
        let intent = try story.bowline.send(create, to: server)
        let host = try await story.host("it is refused") { $0.recentIntents.contains { $0.intentId == intent } }
        let outcome = host.recentIntents.first { $0.intentId == intent }
        #expect(outcome?.kind == .refused && outcome?.refusal == .notGranted)
        #expect(outcome?.detail?.contains("owner") == true)
        try story.world.order(#"{"do":"revoke"}"#)
        expect(try await story.refusal(), says: .deviceRevoked, .pairAgain)
        try await story.bowline.shutdown()
    }

    @Test(
        "TR-4: a device sees when its time ends and that it has ended, and pairing again helps", .timeLimit(.minutes(3)))
    func expired() async throws {
        let story = try Story()
        try await story.bowline.pair(story.world.offer(0))
        let grant = try #require(try await story.online().grant)
        #expect(grant.expiresAt == nil)
        try story.world.order(#"{"do":"grant","expires":"30d"}"#)
        let ends = try await story.host("it has an end") { $0.grant?.expiresAt != nil }.grant?.expiresAt
        #expect(try #require(ends) > Date())
        try story.world.order(#"{"do":"grant","expires":"1s"}"#)
        expect(try await story.refusal(), says: .deviceExpired, .pairAgain)
        try await story.bowline.pair(story.world.offer(0))
        let again = try await story.online()
        #expect(again.lastError == nil && again.grant != nil && again.grant?.expiresAt == nil)
        try await story.bowline.shutdown()
    }

    @Test(
        "TR-15: a locked daemon is an error of the host and of the screen, and after the unlock the app goes on",
        .timeLimit(.minutes(3)))
    func locked() async throws {
        let story = try Story()
        let server = try await story.bowline.pair(story.world.offer(0)).serverId
        let agentId = try await story.bowline.agent(on: server, in: story.folder)
        let store = AgentScreenStore(story.bowline, serverId: server, agentId: agentId)
        try await eventually("it is loaded") { store.screen.isCalm }
        try story.world.order(#"{"do":"lock"}"#)
        expect(try await story.refusal(), says: .daemonLocked, .wait)
        try await eventually("the screen is offline") { store.connectivity == .offline }
        expect(store.connectionError, says: .daemonLocked, .wait)
        #expect(store.composerEnabled && !store.timeline.items.isEmpty)
        let other = try Story(story.world)
        let error = try await other.refused(story.world.offer(0))
        #expect(error.reason == .daemonLocked && error.advice == .wait)
        try await other.bowline.shutdown()

        // What the user sends is tried at once, and kept.
        let before = story.hosts.hosts[0].generation
        let prompt = try store.send("for the right one")
        let host = try await story.host("it was tried") { $0.state == .error && $0.generation > before }
        expect(host.lastError, says: .daemonLocked, .wait)
        #expect(host.pendingIntents == 1)
        try story.world.order(#"{"do":"unlock"}"#)
        story.comesBack()
        #expect(try await story.online().lastError == nil)
        try await done(prompt, in: store)
        try await story.bowline.shutdown()
    }

    @Test("TR-1: whoever answers in the daemon's place is told nothing, and the app sees why", .timeLimit(.minutes(3)))
    func impostor() async throws {
        let story = try Story()
        let server = try await story.bowline.pair(story.world.offer(0)).serverId
        let agentId = try await story.bowline.agent(on: server, in: story.folder)
        let store = AgentScreenStore(story.bowline, serverId: server, agentId: agentId)
        try await eventually("it is loaded") { store.screen.isCalm }
        try story.world.order(#"{"do":"divert","path":0}"#)
        let host = try await story.host("another key") { $0.lastError?.reason == .cryptoFailed }
        // Anybody on the way can bring that about, so it is retried.
        expect(host.lastError, says: .cryptoFailed, .wait)
        #expect(host.lastError?.detail.contains("does not have the key") == true)
        let prompt = try store.send("for the right one")
        #expect(try story.world.heard("hellos") == 0)

        // With the daemon's key it can read who calls, and lacks the identity.
        try story.world.order(#"{"do":"divert","path":0,"stolen":true}"#)
        let error = try await story.refusal()
        expect(error, says: .serverIdentityMismatch, .pairAgain)
        #expect(error?.detail.contains("did not prove") == true)
        try await eventually("the screen is offline") { store.connectivity == .offline }
        expect(store.connectionError, says: .serverIdentityMismatch, .pairAgain)

        try story.world.heal(0)
        story.comesBack()
        #expect(try await story.online().lastError == nil)
        try await done(prompt, in: store)
        #expect(try story.world.heard("hellos") > 0)
        #expect(try story.world.heard("messages") == 0)
        try await story.bowline.shutdown()
    }

    @Test(
        "TR-1: a link that names a known host under another key is refused, and nobody is dialled", .timeLimit(.minutes(3)))
    func forged() async throws {
        let story = try Story()
        try await story.bowline.pair(story.world.offer(0))
        let name = try await story.online().name
        let forged = try #require(try story.world.order(#"{"do":"forge"}"#)["offer"] as? String)
        #expect(try story.bowline.inspectOffer(forged).host == .otherKey(name: name))
        let error = try await story.refused(forged)
        #expect(error.reason == .serverIdentityMismatch && error.advice == .askUser)
        #expect(error.detail.contains(name) && error.detail.contains("forget"))
        #expect(try story.world.heard("connections") == 0)
        #expect(story.hosts.hosts.map(\.state) == [.online])
        try await story.bowline.shutdown()
    }
}
