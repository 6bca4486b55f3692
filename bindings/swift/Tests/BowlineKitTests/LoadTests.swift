import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("A reader that is slow misses changes, and never the last", .serialized)
struct LoadTests {
    private static let updates: UInt32 = 100_000

    @Test("a listener that takes 10 ms gets fewer of 100,000 updates, and the last of them")
    func slowListener() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        let (calls, last) = (Box(0), Box(""))
        let subscription = try preview.subscribeHosts(
            listener: HostsProxy { snapshot in
                usleep(10_000)
                calls.change { $0 += 1 }
                last.value = snapshot.hosts[0].name
            })
        _ = try await preview.burst(updates: Self.updates, perSecond: 0)
        try await within { while last.value != "\(Self.updates)" { try await Task.sleep(for: .milliseconds(5)) } }
        #expect(calls.value < Int(Self.updates) / 10)
        subscription.cancel()
    }

    @Test("a loop that takes 10 ms gets fewer of 100,000 updates, and the last of them")
    func slowLoop() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        let loop = Task {
            var seen = 0
            for try await snapshot in preview.hosts {
                seen += 1
                try await Task.sleep(for: .milliseconds(10))
                if snapshot.hosts[0].name == "\(Self.updates)" { break }
            }
            return seen
        }
        _ = try await preview.burst(updates: Self.updates, perSecond: 0)
        let seen = try await within { try await loop.value }
        #expect(seen < Int(Self.updates) / 10)
    }
}
