import Foundation
import Testing

@testable import BowlineKit

/// An app with a project of a real daemon that has a service: daemon/examples/voxel.rs. They end with it.
final class Castle: Sendable {
    let world: World
    let bowline: Bowline
    let server: String
    let project: String
    private let folder: Folder

    private struct Created: Decodable { let project: String }

    init() async throws {
        (world, folder) = (try World("voxel"), try Folder())
        bowline = try Bowline(config(folder.path), platform: NoPlatform())
        server = try await bowline.pair(world.offer(0)).serverId
        try await bowline.online(.direct)
        let create = Intent.custom(method: "voxel.create_project", paramsJson: #"{"name":"castle","size":[8,8,8]}"#)
        let created: Created = try decoded(#require(try await bowline.run(create, on: server)))
        project = created.project
    }

    /// What names the project, in parameters.
    var params: [String: String] { ["project": project] }

    /// A change of the project.
    func change(_ method: String, _ params: some Encodable & Sendable) throws -> BowlineKit.Intent {
        var members = try JSONSerialization.jsonObject(with: Data(encoded(params).utf8)) as? [String: Any] ?? [:]
        members["project"] = project
        let json = try JSONSerialization.data(withJSONObject: members, options: .sortedKeys)
        return .custom(method: "voxel.\(method)", paramsJson: String(decoding: json, as: UTF8.self))
    }

    /// Sends a change.
    @discardableResult
    func send(_ method: String, _ params: some Encodable & Sendable) throws -> String {
        try bowline.send(change(method, params), to: server)
    }

    /// Sends a change, and waits until the daemon has made it. Returns its result as JSON.
    @discardableResult
    func run(_ method: String, _ params: some Encodable & Sendable) async throws -> String? {
        try await bowline.run(change(method, params), on: server)
    }
}

extension Bowline {
    /// Sends a change, and waits until the daemon has made it. Returns its result as JSON.
    func run(_ intent: BowlineKit.Intent, on server: String) async throws -> String? {
        let id = try send(intent, to: server)
        _ = try await hosts.until { snapshot in
            snapshot.hosts.contains { host in host.recentIntents.contains { $0.intentId == id } }
        }
        return try result(of: id, on: server)
    }
}
