import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("Nothing grows, however much happens", .serialized)
struct LoadTests {
    private static let updates: UInt32 = 100_000

    @Test("a listener that takes 10 ms gets fewer of 100,000 updates, and the last of them")
    func slowListener() async throws {
        let rehearsal = Rehearsal(hosts: 1, items: 0)
        let (calls, last) = (Box(0), Box(""))
        let subscription = try rehearsal.subscribeHosts(
            listener: HostsProxy { snapshot in
                usleep(10_000)
                calls.change { $0 += 1 }
                last.value = snapshot.hosts[0].name
            })
        _ = try await rehearsal.burst(updates: Self.updates, perSecond: 0)
        try await within { while last.value != "\(Self.updates)" { try await Task.sleep(for: .milliseconds(5)) } }
        #expect(calls.value < Int(Self.updates) / 10)
        subscription.cancel()
    }

    @Test("a loop that takes 10 ms gets fewer of 100,000 updates, and the last of them")
    func slowLoop() async throws {
        let rehearsal = Rehearsal(hosts: 1, items: 0)
        let loop = Task {
            var seen = 0
            for try await snapshot in rehearsal.hosts {
                seen += 1
                try await Task.sleep(for: .milliseconds(10))
                if snapshot.hosts[0].name == "\(Self.updates)" { break }
            }
            return seen
        }
        _ = try await rehearsal.burst(updates: Self.updates, perSecond: 0)
        let seen = try await within { try await loop.value }
        #expect(seen < Int(Self.updates) / 10)
    }

    @Test("10,000 subscriptions made and ended leave memory as it was")
    func subscriptions() async throws {
        let rehearsal = Rehearsal(hosts: 4, items: 50)
        func cycles(_ count: Int) async throws {
            for n in 0..<count {
                let called = Flag()
                let subscription = try rehearsal.subscribeHosts(listener: HostsProxy { _ in _ = called.set() })
                // Every tenth is waited for; the others end before they are called, or while they are.
                if n % 10 == 0 {
                    while !called.isSet { await Task.yield() }
                    subscription.cancel()
                    _ = await subscription.ended()
                }
            }
            // What was still due is done.
            _ = try await rehearsal.hosts.until { !$0.hosts.isEmpty }
        }
        try await cycles(10_000)
        let before = resident()
        try await cycles(10_000)
        let grown = resident() - before
        #expect(grown < 8 << 20, "grown by \(grown >> 10) KiB over 10,000 subscriptions")
    }

    @Test("10,000 loops begun and ended leave memory as it was")
    func loops() async throws {
        let rehearsal = Rehearsal(hosts: 4, items: 50)
        func cycles(_ count: Int) async throws {
            for _ in 0..<count {
                for try await _ in rehearsal.timeline { break }
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
        let rehearsal = Rehearsal(hosts: 4, items: 50)
        let last = Box("")
        let loop = Task {
            for try await snapshot in rehearsal.hosts { last.value = snapshot.hosts[0].name }
        }
        func burst(_ updates: UInt32) async throws {
            _ = try await rehearsal.burst(updates: updates, perSecond: 0)
            try await within { while last.value != "\(updates)" { try await Task.sleep(for: .milliseconds(1)) } }
        }
        try await burst(Self.updates)
        let before = resident()
        try await burst(10 * Self.updates)
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
