import BowlineKit
import Observation

/// A pairing link that the user has to confirm.
struct Offer {
    let link: String
    let info: OfferInfo
}

/// What the app shows and does. Nothing here connects, and nothing is lost when the process ends, since the library keeps what was
/// sent. A view reads the stores: one that reads `layers` is drawn anew when a layer changes, and no other.
@MainActor
@Observable
final class VoxelModel {
    /// All computers, and codes to compare while the owner of one is asked.
    private(set) var hosts: HostsSnapshot?
    private(set) var offer: Offer?
    /// The project whose layers and edits are shown.
    private(set) var chosen: String?
    private(set) var projects: TableStore<Project>?
    private(set) var layers: TableStore<Layer>?
    private(set) var edits: LogStore<Edit>?
    /// Why the library took nothing of what the user did last.
    private(set) var problem: (any Error)?

    /// The first computer: this app pairs with one.
    var host: HostSnapshot? { hosts?.hosts.first }

    @ObservationIgnored private let bowline: Bowline

    init(_ bowline: Bowline) {
        self.bowline = bowline
    }

    /// Follows the computers until its task ends: `.task { await model.run() }`.
    func run() async {
        do {
            for try await snapshot in bowline.hosts { show(snapshot) }
        } catch {
            problem = error
        }
    }

    private func show(_ snapshot: HostsSnapshot) {
        let before = host?.serverId
        hosts = snapshot
        if host?.serverId == before { return }
        projects = host.map { TableStore(bowline, serverId: $0.serverId, name: projectsTable) }
        (layers, edits) = (nil, nil)
        if let chosen { choose(chosen) }
    }

    /// Reads a pairing link; the user sees whose it is before ``pair()``.
    func inspect(_ link: String) {
        attempt { offer = Offer(link: link, info: try bowline.inspectOffer(link)) }
    }

    /// Pairs with the computer of the confirmed link. Its owner is asked meanwhile.
    func pair() async {
        guard let offer else { return }
        do {
            try await bowline.pair(offer.link)
            // Another link may have been read meanwhile.
            if self.offer?.link == offer.link { self.offer = nil }
            problem = nil
        } catch {
            problem = error
        }
    }

    func choose(_ project: String) {
        chosen = project
        guard let server = host?.serverId else { return }
        let of = OfProject(project: project)
        layers = TableStore(bowline, serverId: server, name: layersTable, params: of)
        edits = LogStore(bowline, serverId: server, name: editsLog, params: of)
    }

    func create(_ project: String) {
        send { try .create(project) }
    }

    func add(_ layer: String) {
        send { try .add(layer, to: chosen ?? "") }
    }

    func rename(_ layer: Layer, to name: String) {
        send { try .rename(layer, to: name, in: chosen ?? "") }
    }

    func paint(_ layer: Layer, _ colour: Colour) {
        send { try .paint(layer, colour, in: chosen ?? "") }
    }

    func remove(_ layer: String) {
        send { try .remove(layer, from: chosen ?? "") }
    }

    /// The user has seen why the change of a row failed.
    func dismiss(_ failure: RowFailure) {
        attempt { try bowline.dismiss(failure.intentId, on: host?.serverId ?? "") }
    }

    /// Loads the layers after the last one; the store has the progress.
    func loadMoreLayers() {
        attempt { try layers?.loadMore() }
    }

    /// Loads the edits before the oldest one; the store has the progress.
    func loadOlderEdits() {
        attempt { try edits?.loadOlder() }
    }

    /// The rows have it at once, pending; the library does the rest, also after a restart of the app.
    private func send(_ change: () throws -> Change) {
        attempt {
            let change = try change()
            try bowline.send(change.intent, to: host?.serverId ?? "", shows: change.shows)
        }
    }

    private func attempt(_ work: () throws -> Void) {
        do {
            try work()
            problem = nil
        } catch {
            problem = error
        }
    }
}
