import BowlineFFI
import Observation

/// What one agent's screen shows, and what its user can do there.
///
/// A view that reads ``timeline`` is drawn anew when the timeline changes, one that reads anything else when that does: a
/// line of output concerns the list, and not the toolbar around it.
@MainActor
@Observable
public final class AgentScreenStore {
    /// Pause before a screen is opened again that the library had no room for.
    private static let again = Duration.milliseconds(500)

    /// The content.
    public private(set) var timeline = Timeline()
    /// Everything but the content: its timeline is empty and its revision 0.
    private var frame: AgentScreen
    /// Why nothing changes: the host was forgotten or is not known, or has too many screens open; the last is tried again.
    public private(set) var failure: (any Error)?

    @ObservationIgnored private var rev: UInt32 = 0
    @ObservationIgnored private let bowline: Bowline
    @ObservationIgnored private let serverId: String
    @ObservationIgnored private let named: String?
    @ObservationIgnored private var loop: Loop?

    /// The screen of an agent.
    public convenience init(_ bowline: Bowline, serverId: String, agentId: String) {
        self.init(bowline, serverId: serverId, target: .agent(agentId: agentId))
    }

    /// The screen of an agent, or of one that is being created.
    public convenience init(_ bowline: Bowline, serverId: String, target: ScreenTarget) {
        self.init(bowline, serverId: serverId, target: target, screens: bowline.screen(on: serverId, of: target))
    }

    init(_ bowline: Bowline, serverId: String, target: ScreenTarget, screens: Snapshots<AgentScreen>) {
        (self.bowline, self.serverId) = (bowline, serverId)
        if case .agent(let agentId) = target { named = agentId } else { named = nil }
        frame = AgentScreen(serverId: serverId)
        loop = Loop { [weak self] in
            while !Task.isCancelled {
                do {
                    for try await screen in screens { self?.show(screen) }
                    return
                } catch {
                    self?.failure = error
                    guard Self.mayPass(error) else { return }
                    try? await Task.sleep(for: Self.again)
                }
            }
        }
    }

    /// All of it at once, for a view that shows all of it.
    public var screen: AgentScreen {
        var screen = frame
        (screen.rev, screen.timeline) = (rev, timeline)
        return screen
    }

    /// The agent; none until the daemon has named the one that is being created.
    public var agentId: String? { frame.agentId }
    /// Its row in the directory, once that is known.
    public var agent: AgentSummary? { frame.agent }
    /// Whether it was created from here.
    public var creation: Creation { frame.creation }
    /// What was asked for, while it is being created.
    public var creating: PendingAgent? { frame.creating }
    /// Why it could not be created, with what was asked for.
    public var creationFailed: FailedAgent? { frame.creationFailed }
    /// The whole content is covered (UX-1).
    public var overlay: Bool { frame.overlay }
    /// At most one toast (UX-2).
    public var toast: Toast? { frame.toast }
    /// "Start chatting".
    public var placeholder: Bool { frame.placeholder }
    /// At most one error (UX-4).
    public var errorIndicator: ErrorIndicator? { frame.errorIndicator }
    /// Prompts can be typed and sent; offline too.
    public var composerEnabled: Bool { frame.composerEnabled }
    /// Why no prompt can be sent any more; to be said in the place of the composer.
    public var readOnly: ReadOnly? { frame.readOnly }
    /// How the host stands.
    public var connectivity: Connectivity { frame.connectivity }
    /// Why the host is not online, with what to do about it.
    public var connectionError: ErrorInfo? { frame.connectionError }

    /// Sends a prompt: shown at once, with a pending mark (UX-3). Returns the intent's id.
    @discardableResult
    public func send(_ text: String) throws -> String {
        try bowline.send(.sendPrompt(agentId: target(), text: text), to: serverId)
    }

    /// Ends the running turn. Returns the intent's id.
    @discardableResult
    public func cancelTurn() throws -> String {
        try bowline.send(.cancel(agentId: target()), to: serverId)
    }

    /// Answers a permission. Returns the intent's id.
    @discardableResult
    public func respond(to permissionId: String, with optionId: String) throws -> String {
        let intent = Intent.respond(agentId: try target(), permissionId: permissionId, optionId: optionId)
        return try bowline.send(intent, to: serverId)
    }

    /// Fetches the page before the oldest item.
    public func loadOlder() throws {
        try bowline.loadOlder(on: serverId, of: target())
    }

    /// Fetches the page after the last item, where that is not the newest.
    public func loadNewer() throws {
        try bowline.loadNewer(on: serverId, of: target())
    }

    /// Shows the newest items, wherever the view was.
    public func jumpToNewest() throws {
        try bowline.jumpToNewest(on: serverId, of: target())
    }

    /// Tries again at once to load the history, after that failed.
    public func reload() throws {
        try bowline.reload(on: serverId, of: target())
    }

    /// The user has seen that a message or the creation failed: it is shown no more.
    public func dismiss(_ intentId: String) throws {
        try bowline.dismiss(intentId, on: serverId)
    }

    private func show(_ next: AgentScreen) {
        var rest = next
        (rest.rev, rest.timeline) = (0, Timeline())
        rev = next.rev
        // What is set is what changed: observers are told of every assignment.
        if rest != frame { frame = rest }
        if next.timeline != timeline { timeline = next.timeline }
        if failure != nil { failure = nil }
    }

    /// Whether there may be room later.
    private static func mayPass(_ error: any Error) -> Bool {
        switch error {
        case let ended as SubscriptionEnded: ended.reason == .busy || ended.reason == .tooMany
        case let refused as BowlineError: refused.advice == .tryAgain
        default: false
        }
    }

    private func target() throws -> String {
        if let agent = named ?? frame.agentId { return agent }
        throw BowlineError.InvalidIdentity(
            detail: "the agent is still being created", advice: .wait, reason: nil)
    }
}
