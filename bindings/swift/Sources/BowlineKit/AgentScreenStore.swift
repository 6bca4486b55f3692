import BowlineFFI
import Observation

/// The content and the actions of one agent's screen.
///
/// A view that reads ``timeline`` is redrawn when the timeline changes, and one that reads another
/// property when that changes: a line of output redraws the list, and not the toolbar around it.
@MainActor
@Observable
public final class AgentScreenStore {
    /// The content.
    public private(set) var timeline = Timeline()
    /// The screen without its content: its timeline is empty and its revision 0.
    private var frame: AgentScreen
    /// Why updates stopped: the host was forgotten or is unknown, or its limit of open screens is
    /// reached, which is retried.
    public private(set) var failure: (any Error)?

    @ObservationIgnored private var rev: UInt32 = 0
    @ObservationIgnored private let connected: Bowline?
    @ObservationIgnored private let serverId: String
    @ObservationIgnored private let named: String?
    @ObservationIgnored private var loop: Loop?

    /// The screen of an agent.
    public convenience init(_ bowline: Bowline, serverId: String, agentId: String) {
        self.init(bowline, serverId: serverId, target: .agent(agentId: agentId))
    }

    /// The screen of an agent, or of one being created.
    public convenience init(_ bowline: Bowline, serverId: String, target: ScreenTarget) {
        self.init(bowline, serverId: serverId, target: target, screens: bowline.screen(on: serverId, of: target))
    }

    init(_ bowline: Bowline?, serverId: String, target: ScreenTarget, screens: Snapshots<AgentScreen>) {
        (connected, self.serverId) = (bowline, serverId)
        if case .agent(let agentId) = target { named = agentId } else { named = nil }
        frame = AgentScreen(serverId: serverId)
        loop = Loop(screens) { [weak self] in
            self?.show($0)
        } failed: { [weak self] in
            self?.failure = $0
        }
    }

    /// The whole screen in one value, for a view that shows all of it.
    public var screen: AgentScreen {
        var screen = frame
        (screen.rev, screen.timeline) = (rev, timeline)
        return screen
    }

    /// Whether the first update has arrived, which takes milliseconds and no network.
    public private(set) var isReady = false
    /// The agent; none until the daemon has confirmed the one being created.
    public var agentId: String? { frame.agentId }
    /// Its row in the directory, once loaded.
    public var agent: AgentSummary? { frame.agent }
    /// Origin of the agent.
    public var creation: Creation { frame.creation }
    /// The agent as requested, while it is being created.
    public var creating: PendingAgent? { frame.creating }
    /// Why its creation failed, with the agent as requested.
    public var creationFailed: FailedAgent? { frame.creationFailed }
    /// An overlay covers the whole content (UX-1).
    public var overlay: Bool { frame.overlay }
    /// At most one toast (UX-2).
    public var toast: Toast? { frame.toast }
    /// Show the hint "Start chatting".
    public var placeholder: Bool { frame.placeholder }
    /// At most one error (UX-4).
    public var errorIndicator: ErrorIndicator? { frame.errorIndicator }
    /// Prompts can be typed and sent, also offline.
    public var composerEnabled: Bool { frame.composerEnabled }
    /// Why no prompt can be sent any more; shown in place of the composer.
    public var readOnly: ReadOnly? { frame.readOnly }
    /// State of the host.
    public var connectivity: Connectivity { frame.connectivity }
    /// Why the host is not online, with the recommended action.
    public var connectionError: ErrorInfo? { frame.connectionError }

    /// Sends a prompt: shown at once, with a pending mark (UX-3). Returns the intent's id.
    @discardableResult
    public func send(_ text: String) throws -> String {
        try bowline().send(.sendPrompt(agentId: target(), text: text), to: serverId)
    }

    /// Ends the running turn. Returns the intent's id.
    @discardableResult
    public func cancelTurn() throws -> String {
        try bowline().send(.cancel(agentId: target()), to: serverId)
    }

    /// Answers a permission request. Returns the intent's id.
    @discardableResult
    public func respond(to permissionId: String, with optionId: String) throws -> String {
        let intent = Intent.respond(agentId: try target(), permissionId: permissionId, optionId: optionId)
        return try bowline().send(intent, to: serverId)
    }

    /// Loads the page before the oldest item.
    public func loadOlder() throws {
        try bowline().loadOlder(on: serverId, of: target())
    }

    /// Loads the page after the last item, unless that is the newest.
    public func loadNewer() throws {
        try bowline().loadNewer(on: serverId, of: target())
    }

    /// Moves the view to the newest items.
    public func jumpToNewest() throws {
        try bowline().jumpToNewest(on: serverId, of: target())
    }

    /// Retries a failed load of the history at once.
    public func reload() throws {
        try bowline().reload(on: serverId, of: target())
    }

    /// Dismisses a failed message or creation, so that it is no longer shown.
    public func dismiss(_ intentId: String) throws {
        try bowline().dismiss(intentId, on: serverId)
    }

    private func show(_ next: AgentScreen) {
        var rest = next
        (rest.rev, rest.timeline) = (0, Timeline())
        rev = next.rev
        if !isReady { isReady = next.isReady }
        // Only changed values are assigned, because every assignment notifies observers.
        if rest != frame { frame = rest }
        if next.timeline != timeline { timeline = next.timeline }
        if failure != nil { failure = nil }
    }

    private func bowline() throws -> Bowline {
        if let connected { return connected }
        throw BowlineError.NotConnected(detail: "there is nobody behind a preview", advice: .nothing, reason: nil)
    }

    private func target() throws -> String {
        if let agent = named ?? frame.agentId { return agent }
        throw BowlineError.InvalidIdentity(
            detail: "the agent is still being created", advice: .wait, reason: nil)
    }
}
