import BowlineFFI
import Observation

/// A loop that ends with the object that holds it.
final class Loop: Sendable {
    /// Pause before what was refused at a limit is subscribed to again.
    private static let again = Duration.milliseconds(500)

    private let task: Task<Void, Never>

    init(_ body: @escaping @MainActor @Sendable () async -> Void) {
        task = Task { await body() }
    }

    /// Shows values until they end. Those refused at a limit are subscribed to again after a pause.
    convenience init<Value>(
        _ values: Snapshots<Value>, show: @escaping @MainActor @Sendable (Value) -> Void,
        failed: @escaping @MainActor @Sendable (any Error) -> Void
    ) {
        self.init {
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

    /// Whether the limit may have room later.
    private static func mayPass(_ error: any Error) -> Bool {
        switch error {
        case let ended as SubscriptionEnded: ended.reason == .busy || ended.reason == .tooMany
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
        loop = Loop { [weak self] in
            do {
                for try await snapshot in hosts { self?.snapshot = snapshot }
            } catch {
                self?.failure = error
            }
        }
    }
}

/// The agents of all hosts in one list, for views. A view that reads one of its parts is drawn anew when that part changes.
@MainActor
@Observable
public final class DirectoryStore {
    /// The agents, in the order in which to show them.
    public private(set) var rows = ChunkedList<DirectoryRow>()
    /// Whether to show a skeleton: the list is empty and a first load is running.
    public private(set) var loading = false
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
        loop = Loop { [weak self] in
            do {
                for try await directory in directories { self?.show(directory) }
            } catch {
                self?.failure = error
            }
        }
    }

    private func show(_ next: Directory) {
        // Only changed values are assigned, because every assignment notifies observers.
        if rows != next.rows { rows = next.rows }
        if loading != next.loading { loading = next.loading }
        if hosts != next.hosts { hosts = next.hosts }
    }
}
