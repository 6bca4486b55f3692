import BowlineFFI
import Observation

/// A loop that ends with the object that holds it.
final class Loop: Sendable {
    /// Pause before what was refused at a limit is subscribed to again.
    private static let again = Duration.milliseconds(500)

    private let task: Task<Void, Never>

    /// Shows values until they end. Those that may come later are subscribed to again after a pause.
    init<Value: Sendable>(
        _ values: Snapshots<Value>, show: @escaping @MainActor @Sendable (Value) -> Void,
        failed: @escaping @MainActor @Sendable (any Error) -> Void
    ) {
        task = Task { @MainActor in
            while !Task.isCancelled {
                do {
                    for try await value in values { show(value) }
                    return
                } catch {
                    failed(error)
                    guard Self.mayPass(error) else { return }
                    try? await Task.sleep(for: Self.again)
                }
            }
        }
    }

    deinit {
        task.cancel()
    }

    /// Whether what failed may succeed a moment later: one rule for all that is tried again.
    private static func mayPass(_ error: any Error) -> Bool {
        switch error {
        case let ended as SubscriptionEnded: ended.advice == .tryAgain
        case let refused as BowlineError: refused.advice == .tryAgain
        default: false
        }
    }
}

/// All hosts, for views. It changes on the main actor, latest first, and ends with the last view that holds it.
@MainActor
@Observable
public final class HostsStore {
    /// The state of all hosts.
    public private(set) var snapshot: HostsSnapshot = .empty
    /// Why updates stopped; none while they continue.
    public private(set) var failure: (any Error)?
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public var isReady: Bool { snapshot.isReady }
    /// Every known host.
    public var hosts: [HostSnapshot] { snapshot.hosts }
    /// Pairings in progress, with the code to show while the daemon's owner is asked.
    public var pairings: [Pairing] { snapshot.pairings }

    @ObservationIgnored private var loop: Loop?

    /// The hosts of an app.
    public convenience init(_ bowline: Bowline) {
        self.init(bowline.hosts)
    }

    /// Hosts from anywhere: ``PreviewData/hosts`` in a preview.
    public init(_ hosts: Snapshots<HostsSnapshot>) {
        loop = Loop(hosts) { [weak self] in
            self?.snapshot = $0
            if self?.failure != nil { self?.failure = nil }
        } failed: { [weak self] in
            self?.failure = $0
        }
    }
}

/// The agents of all hosts in one list, for views. A view that reads one of its parts is drawn anew when that part changes.
@MainActor
@Observable
public final class DirectoryStore {
    /// The agents, in the order in which to show them.
    public private(set) var rows = ChunkedList<DirectoryRow>()
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public private(set) var isReady = false
    /// Whether to show a skeleton: the list is empty and a first load is running.
    public private(set) var loading = true
    /// State of each host's part of the list.
    public private(set) var hosts: [HostDirectory] = []
    /// Why updates stopped; none while they continue.
    public private(set) var failure: (any Error)?

    @ObservationIgnored private var loop: Loop?

    /// The agents of an app's hosts.
    public convenience init(_ bowline: Bowline) {
        self.init(bowline.directory)
    }

    init(_ directories: Snapshots<Directory>) {
        loop = Loop(directories) { [weak self] in
            self?.show($0)
        } failed: { [weak self] in
            self?.failure = $0
        }
    }

    private func show(_ next: Directory) {
        // Only changed values are assigned, because every assignment notifies observers.
        if rows != next.rows { rows = next.rows }
        if !isReady { isReady = next.isReady }
        if loading != next.loading { loading = next.loading }
        if hosts != next.hosts { hosts = next.hosts }
        if failure != nil { failure = nil }
    }
}
