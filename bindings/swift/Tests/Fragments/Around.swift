import BowlineKit
import Foundation

/// What the fragments of docs/swift.md are in the middle of. They are compiled with the tests, and not run.
@MainActor
struct Around {
    let bowline: Bowline
    let serverId: String
    let rename: BowlineKit.Intent
    let row: LiveRow<Project>
    let data: Data
    let file: URL

    func reload() async {}
}

func show(_: Any?...) {}

struct Layers: Codable, Sendable { let layers: [String] }
struct Project: Codable, Sendable {
    let layers: Int
    let name: String
}
struct Note: Codable, Sendable { var text: String }
struct Edit: Codable, Sendable { let voxels: Int }
