import BowlineKit
import Foundation

/// Every text of the app, from its `Localizable` strings: each key is the English text, `%@` stands for a value. `detail` of the
/// library and the service is English.
enum Texts {
    static func connection(_ host: HostSnapshot) -> String {
        if host.state == .online { return text("%@: connected over %@", host.name, host.address ?? text("a path")) }
        let error = host.lastError?.advice.text ?? ""
        return error.isEmpty ? text("%@: connecting", host.name) : text("%@: connecting (%@)", host.name, error)
    }

    static func offer(_ info: OfferInfo) -> String {
        if case .otherKey = info.host {
            return text("This link names a computer that you know, but with another key. Ask its owner before you trust it.")
        }
        return text("Pair with %@ at %@?", info.name, info.addresses.map(\.address).joined(separator: ", "))
    }

    static func code(_ code: String) -> String { text("Compare this code on the computer: %@", code) }

    static func problem(_ problem: any Error) -> String { text("Not sent: %@", problem.localizedDescription) }

    /// What stands beside rows, or in their place; none where the rows alone say it.
    static func state(_ state: TableState, _ error: LoadFailure?, isEmpty: Bool, none: String) -> String? {
        switch state {
        case .ready, .revalidating: nil
        case .empty: none
        case .stale: (isEmpty ? none + " " : "") + text("May be outdated until the computer is back.")
        case .loading: isEmpty ? text("Loading") : nil
        case .failed: text("Cannot be loaded yet; it is tried again.")
        case .refused: text("The computer refuses this list: %@", error.map { "\($0)" } ?? "")
        }
    }

    /// A value that did not come.
    static func unshown(isUnreadable: Bool) -> String {
        isUnreadable ? text("the computer cannot read it") : text("too large to be shown")
    }

    static func mark<Value>(_ row: LiveRow<Value>) -> String? {
        switch row.failure?.reason {
        case .refused(let detail, _): text("refused: %@", detail)
        case .expired: text("the computer was away for too long: look whether it was done")
        case nil: row.isPending ? text("pending") : nil
        }
    }

    static func layer(_ layer: Layer) -> String {
        text("%@: %@, %@ voxels", layer.name, layer.colour.rawValue, "\(layer.voxels)")
    }

    static func edit(_ edit: Edit) -> String {
        switch edit.kind {
        case .added: text("%@ was added", edit.layer)
        case .removed: text("%@ was removed", edit.layer)
        case .renamed: text("%@ is now %@", edit.layer, edit.to ?? "")
        case .painted: text("%@ has %@ more voxels", edit.layer, "\(edit.voxels ?? 0)")
        }
    }

    static var noProjects: String { text("No projects yet.") }
    static var noLayers: String { text("No layers yet.") }
    static var noEdits: String { text("No edits yet.") }

    private static func text(_ key: String, _ values: String...) -> String {
        var parts = NSLocalizedString(key, comment: "").components(separatedBy: "%@")
        for (at, value) in values.enumerated() where at + 1 < parts.count { parts[at] += value }
        return parts.joined()
    }
}
