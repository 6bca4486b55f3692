// What the boundary costs an app in Swift: one figure a line, as JSON, with every sample (`cargo xtask bench bindings`
// judges them). `--quick` takes fewer samples.

import Foundation

@main
struct Bench {
    static func main() async throws {
        let isQuick = CommandLine.arguments.contains("--quick")
        try await measureAppends(samples: isQuick ? 10 : 50).forEach { try $0.print() }
        try await measureRows(samples: isQuick ? 10 : 50).forEach { try $0.print() }
        try await measureCalls(intents: isQuick ? 200 : 1_000).print()
        try await measureFirstSnapshot(samples: isQuick ? 10 : 50).print()
        try await measureBursts(samples: isQuick ? 3 : 10).forEach { try $0.print() }
        try await measureLast(samples: isQuick ? 2 : 10).print()
    }
}

/// One figure with its samples, in microseconds.
struct Figure {
    private let name: String
    private var samples: [Double] = []

    init(_ name: String) { self.name = name }

    mutating func add(_ sample: Double) { samples.append(sample) }

    func print() throws {
        let line = try JSONSerialization.data(withJSONObject: ["figure": name, "samples_us": samples] as [String: Any], options: .sortedKeys)
        FileHandle.standardOutput.write(line + Data("\n".utf8))
    }
}

/// Measures time.
struct Stopwatch {
    private let began = DispatchTime.now().uptimeNanoseconds

    /// Since it was made.
    var micros: Double { Double(DispatchTime.now().uptimeNanoseconds - began) / 1e3 }
}

/// Something came out otherwise than it must, so that nothing was measured.
struct Unexpected: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A value behind a lock.
final class Shared<Value: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var held: Value

    init(_ value: Value) { held = value }

    @discardableResult
    func change<T>(_ body: (inout Value) throws -> T) rethrows -> T {
        lock.lock()
        defer { lock.unlock() }
        return try body(&held)
    }
}
