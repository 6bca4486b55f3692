import BowlineKit
import Foundation

/// A real daemon behind two direct paths and a relay, as `bowline-testkit-world` runs it.
final class World: @unchecked Sendable {
    private let process = Process()
    private let orders = Pipe()
    private let answers = Pipe()
    private let lock = NSLock()
    private var rest = Data()

    init(_ arguments: String...) throws {
        let programs = try variable("BOWLINE_PROGRAMS")
        process.executableURL = URL(fileURLWithPath: "\(programs)/bowline-testkit-world")
        process.arguments = arguments
        process.standardInput = orders
        process.standardOutput = answers
        try process.run()
        let ready = try line()
        guard ready.contains("\"ready\"") else { throw Late(description: "no world: \(ready)") }
    }

    deinit {
        // It ends, with all it started, when its input does.
        try? orders.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    private func line() throws -> String {
        while true {
            if let end = rest.firstIndex(of: 10) {
                let line = String(decoding: rest[rest.startIndex..<end], as: UTF8.self)
                rest = Data(rest[rest.index(after: end)...])
                return line
            }
            let more = answers.fileHandleForReading.availableData
            if more.isEmpty { throw Late(description: "the world ended") }
            rest.append(more)
        }
    }

    /// Sends one order and returns its answer.
    @discardableResult
    func order(_ order: String) throws -> [String: Any] {
        lock.lock()
        defer { lock.unlock() }
        orders.fileHandleForWriting.write(Data("\(order)\n".utf8))
        let answer = try JSONSerialization.jsonObject(with: Data(line().utf8)) as? [String: Any] ?? [:]
        guard answer["ok"] as? Bool == true else { throw Late(description: "\(order): \(answer)") }
        return answer
    }

    func offer(_ paths: Int..., ask: Bool = false) throws -> String {
        try order(#"{"do":"offer","paths":\#(paths),"ask":\#(ask)}"#)["offer"] as? String ?? ""
    }

    func cut(_ path: Int) throws {
        try order(#"{"do":"cut","path":\#(path)}"#)
    }

    func heal(_ path: Int) throws {
        try order(#"{"do":"heal","path":\#(path)}"#)
    }

    /// As a power cut would.
    func killDaemon() throws {
        try order(#"{"do":"kill_daemon"}"#)
    }

    /// With the same state, at the same ports.
    func startDaemon() throws {
        try order(#"{"do":"start_daemon"}"#)
    }

    /// How many sessions the daemon has.
    func sessions() throws -> Int {
        try order(#"{"do":"sessions"}"#)["count"] as? Int ?? -1
    }

    /// What clients have told the impostor: its `connections`, the `hellos` it could read, and the `messages` after those.
    func heard(_ what: String) throws -> Int {
        try order(#"{"do":"heard"}"#)[what] as? Int ?? -1
    }
}

extension Bowline {
    /// Waits until the only host is online, on that kind of path if one is named.
    @discardableResult
    func online(_ path: HostPath? = nil) async throws -> HostSnapshot {
        try await hosts.until { snapshot in
            guard let host = snapshot.hosts.first else { return false }
            return host.state == .online && (path == nil || host.path == path)
        }.hosts[0]
    }

    /// An agent with one turn behind it.
    func agent(on server: String, in folder: Folder) async throws -> String {
        let create = Intent.createAgent(provider: "cat", cwd: folder.path, title: nil, prompt: "hello")
        let intent = try send(create, to: server)
        let screen = try await screen(on: server, of: .creation(intentId: intent)).until { $0.agentId != nil && $0.isCalm }
        return screen.agentId ?? ""
    }
}

extension AgentScreen {
    /// All turns are over, and nothing is on its way.
    var isCalm: Bool { timeline.items.last?.kind == .turnEnd && timeline.pending.isEmpty }
}
