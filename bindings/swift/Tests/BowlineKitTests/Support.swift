import BowlineFFI
import BowlineKit
import Foundation

/// For waits that only a broken library exceeds, however slow the machine.
let long = Duration.seconds(60)

struct Late: Error, CustomStringConvertible {
    let description: String
}

/// Runs something that must end in time.
func within<T: Sendable>(
    _ limit: Duration = long, _ what: String = "it", _ body: @escaping @Sendable () async throws -> T
) async throws -> T {
    try await withThrowingTaskGroup(of: T.self) { group in
        group.addTask(operation: body)
        group.addTask {
            try await Task.sleep(for: limit)
            throw Late(description: "\(what) did not end in \(limit)")
        }
        defer { group.cancelAll() }
        return try await group.next()!
    }
}

extension Snapshots {
    /// The first value that fits, within ``long``.
    func until(_ fits: @escaping @Sendable (Element) -> Bool) async throws -> Element {
        let last = Box<Element?>(nil)
        do {
            return try await within {
                for try await value in self {
                    last.value = value
                    if fits(value) { return value }
                }
                throw Late(description: "the values ended")
            }
        } catch let late as Late {
            throw Late(description: "\(late); the last value was \(String(describing: last.value))")
        }
    }
}

/// Waits until a condition on the main actor holds.
@MainActor
func eventually(_ what: String, _ condition: () -> Bool) async throws {
    let deadline = ContinuousClock.now + long
    while !condition() {
        if ContinuousClock.now > deadline { throw Late(description: "not in \(long): \(what)") }
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// A value behind a lock.
final class Box<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var held: Value

    init(_ value: Value) {
        held = value
    }

    var value: Value {
        get { change { $0 } }
        set { change { $0 = newValue } }
    }

    @discardableResult
    func change<T>(_ body: (inout Value) -> T) -> T {
        lock.lock()
        defer { lock.unlock() }
        return body(&held)
    }
}

/// A folder that goes with the test.
final class Folder: Sendable {
    let path: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("bowline-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    func file(_ name: String) -> URL {
        URL(fileURLWithPath: path).appendingPathComponent(name)
    }
}

func config(_ folder: String) -> RuntimeConfig {
    RuntimeConfig(storageFolder: folder, appName: "swift-test", appVersion: "1.0")
}

/// What a test must be told by whoever runs it.
func variable(_ name: String) throws -> String {
    guard let value = ProcessInfo.processInfo.environment[name] else {
        throw Late(description: "\(name) is not set: run `cargo xtask test`")
    }
    return value
}

/// A listener of one function, for tests that are below ``Snapshots``.
final class Hears: HostsListener {
    private let body: @Sendable (HostsSnapshot) throws -> Void
    init(_ body: @escaping @Sendable (HostsSnapshot) throws -> Void) { self.body = body }
    func onHosts(snapshot: HostsSnapshot) throws { try body(snapshot) }
}
