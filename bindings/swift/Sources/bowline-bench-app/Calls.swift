// What an app waits for: an intent's call, and the first snapshot after its start.

import BowlineKit
import Foundation

/// Hosts that the app knows.
private let known = 20

/// The call that sends an intent: it checks it and writes a line of the outbox.
func measureCalls(intents: Int) async throws -> Figure {
    var figure = Figure("intent_call")
    let folder = try await Storage()
    let bowline = try Bowline(folder.config, platform: NoPlatform())
    let server = folder.servers[0]
    for n in 0...intents {
        let watch = Stopwatch()
        try bowline.send(.cancel(agentId: "agt_bench"), to: server)
        let took = watch.micros
        // The first one opens the file.
        if n > 0 { figure.add(took) }
        await Task.yield()
    }
    try await bowline.shutdown()
    return figure
}

/// From the opening of a folder with 20 hosts until a loop has a snapshot of all of them.
func measureFirstSnapshot(samples: Int) async throws -> Figure {
    var figure = Figure("first_snapshot")
    let folder = try await Storage()
    for _ in 0..<samples {
        let watch = Stopwatch()
        let bowline = try Bowline(folder.config, platform: NoPlatform())
        var snapshots = bowline.hosts.makeAsyncIterator()
        var shown: Int?
        while shown != known {
            guard let snapshot = try await snapshots.next() else { throw Unexpected("\(shown ?? 0) hosts") }
            shown = snapshot.hosts.count
        }
        figure.add(watch.micros)
        try await bowline.shutdown()
    }
    return figure
}

/// A storage folder with hosts in it that nobody answers for.
private final class Storage: Sendable {
    let config: RuntimeConfig
    let servers: [String]
    private let folder: URL

    init() async throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("bowline-bench-\(UUID().uuidString)")
        config = RuntimeConfig(storageFolder: folder.path, appName: "bench", appVersion: "0")
        // Makes the identity that the hosts know.
        try await Bowline(config, platform: NoPlatform()).shutdown()
        let letters = Array("abcdefghijklmnopqrstuvwxyz")
        servers = (0..<known).map { "srv_\(String(repeating: "a", count: 24))\(letters[$0])a" }
        let address = ["path": "direct", "address": "127.0.0.1:1"]
        let key = String(repeating: "A", count: 43)
        let hosts = servers.map { server -> [String: Any] in
            ["serverId": server, "name": server, "transportKey": key, "addresses": [address]]
        }
        let stored = try JSONSerialization.data(withJSONObject: ["version": 1, "hosts": hosts])
        try stored.write(to: folder.appendingPathComponent("hosts.json"))
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }
}
