import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

/// They measure the whole process, so `cargo xtask swift` runs them in one of their own.
@Suite("Memory does not grow, however much happens", .serialized)
struct MemoryTests {
    @Test("10,000 subscriptions made and ended leave memory as it was")
    func subscriptions() async throws {
        let preview = PreviewData(hosts: 4, items: 50)
        func cycles(_ count: Int) async throws {
            for n in 0..<count {
                let called = Flag()
                let subscription = try preview.subscribeHosts(listener: HostsProxy { _ in _ = called.set() })
                // Every tenth is waited for; the others end before they are called, or while they are.
                if n % 10 == 0 {
                    while !called.isSet { await Task.yield() }
                    subscription.cancel()
                    _ = await subscription.ended()
                }
            }
            // What was still due is done.
            _ = try await preview.hosts.until { !$0.hosts.isEmpty }
        }
        try await cycles(10_000)
        let before = resident()
        try await cycles(10_000)
        let grown = resident() - before
        #expect(grown < 8 << 20, "grown by \(grown >> 10) KiB over 10,000 subscriptions")
    }

    @Test("10,000 loops begun and ended leave memory as it was")
    func loops() async throws {
        let preview = PreviewData(hosts: 4, items: 50)
        func cycles(_ count: Int) async throws {
            for _ in 0..<count {
                for try await _ in preview.timeline { break }
            }
        }
        try await cycles(10_000)
        let before = resident()
        try await cycles(10_000)
        let grown = resident() - before
        #expect(grown < 8 << 20, "grown by \(grown >> 10) KiB over 10,000 loops")
    }

    @Test("1,000,000 updates leave memory as it was", .timeLimit(.minutes(5)))
    func updates() async throws {
        let preview = PreviewData(hosts: 4, items: 50)
        let last = Box("")
        let loop = Task {
            for try await snapshot in preview.hosts { last.value = snapshot.hosts[0].name }
        }
        func burst(_ updates: UInt32) async throws {
            _ = try await preview.burst(updates: updates, perSecond: 0)
            try await within { while last.value != "\(updates)" { try await Task.sleep(for: .milliseconds(1)) } }
        }
        try await burst(100_000)
        let before = resident()
        try await burst(1_000_000)
        let grown = resident() - before
        #expect(grown < 8 << 20, "grown by \(grown >> 10) KiB over 1,000,000 updates")
        loop.cancel()
    }

    /// Bytes that the process occupies; 0 where the system does not say.
    private func resident() -> Int {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") })
        else { return 0 }
        return (Int(line.filter(\.isNumber)) ?? 0) << 10
    }
}
