import BowlineFFI
import Observation

/// A loop that ends with the object that holds it.
private final class Loop: Sendable {
    private let task: Task<Void, Never>

    init(_ body: @escaping @MainActor @Sendable () async -> Void) {
        task = Task { await body() }
    }

    deinit {
        task.cancel()
    }
}

/// All hosts, for views. It changes on the main actor, latest first, and ends with the last view that holds it.
@MainActor
@Observable
public final class HostsStore {
    /// Everything known of all hosts.
    public private(set) var snapshot: HostsSnapshot = .empty
    /// Why nothing changes any more; none while all is well.
    public private(set) var failure: (any Error)?
    /// Every known host.
    public var hosts: [HostSnapshot] { snapshot.hosts }

    @ObservationIgnored private var loop: Loop?

    /// The hosts of an app.
    public convenience init(_ bowline: Bowline) {
        self.init(bowline.hosts)
    }

    /// Hosts from anywhere: ``Rehearsal/hosts`` in a preview.
    public init(_ hosts: Snapshots<HostsSnapshot>) {
        loop = Loop { [weak self] in
            do {
                for try await snapshot in hosts { self?.snapshot = snapshot }
            } catch {
                self?.failure = error
            }
        }
    }
}

/// The agents of all hosts in one list, for views.
@MainActor
@Observable
public final class DirectoryStore {
    /// The list.
    public private(set) var directory = Directory()
    /// Why nothing changes any more; none while all is well.
    public private(set) var failure: (any Error)?

    @ObservationIgnored private var loop: Loop?

    /// The agents of an app's hosts.
    public init(_ bowline: Bowline) {
        let directories = bowline.directory
        loop = Loop { [weak self] in
            do {
                for try await directory in directories { self?.directory = directory }
            } catch {
                self?.failure = error
            }
        }
    }
}

/// What one agent's screen shows, and what its user can do there.
@MainActor
@Observable
public final class AgentScreenStore {
    /// Pause before a screen is opened again that the library had no room for.
    private static let again = Duration.milliseconds(500)

    /// What to show.
    public private(set) var screen: AgentScreen
    /// Why nothing changes any more: the host was forgotten, is not known, or has too many screens open.
    public private(set) var failure: (any Error)?

    @ObservationIgnored private let bowline: Bowline
    @ObservationIgnored private let serverId: String
    @ObservationIgnored private let named: String?
    @ObservationIgnored private var loop: Loop?

    /// The screen of an agent.
    public convenience init(_ bowline: Bowline, serverId: String, agentId: String) {
        self.init(bowline, serverId: serverId, target: .agent(agentId: agentId))
    }

    /// The screen of an agent, or of one that is being created.
    public init(_ bowline: Bowline, serverId: String, target: ScreenTarget) {
        (self.bowline, self.serverId) = (bowline, serverId)
        if case .agent(let agentId) = target { named = agentId } else { named = nil }
        screen = AgentScreen(serverId: serverId)
        let screens = bowline.screen(on: serverId, of: target)
        loop = Loop { [weak self] in
            while !Task.isCancelled {
                do {
                    for try await screen in screens { self?.screen = screen }
                    return
                } catch let ended as SubscriptionEnded where ended.reason == .busy {
                    try? await Task.sleep(for: Self.again)
                } catch {
                    self?.failure = error
                    return
                }
            }
        }
    }

    /// Sends a prompt: shown at once, with a pending mark (UX-3). Returns the intent's id.
    @discardableResult
    public func send(_ text: String) throws -> String {
        try bowline.send(.sendPrompt(agentId: agent(), text: text), to: serverId)
    }

    /// Ends the running turn.
    @discardableResult
    public func cancelTurn() throws -> String {
        try bowline.send(.cancel(agentId: agent()), to: serverId)
    }

    /// Answers a permission.
    @discardableResult
    public func respond(to permissionId: String, with optionId: String) throws -> String {
        let intent = Intent.respond(agentId: try agent(), permissionId: permissionId, optionId: optionId)
        return try bowline.send(intent, to: serverId)
    }

    /// Fetches the page before the oldest item.
    public func loadOlder() throws {
        try bowline.loadOlder(on: serverId, of: agent())
    }

    /// The user has seen that a message or the creation failed: it is shown no more.
    public func dismiss(_ intentId: String) throws {
        try bowline.dismiss(intentId, on: serverId)
    }

    private func agent() throws -> String {
        if let agent = named ?? screen.agentId { return agent }
        throw BowlineError.InvalidIdentity(
            detail: "the agent is still being created", advice: .wait, reason: nil)
    }
}
