import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("What app code may do in a callback without harm", .serialized)
struct ListenerTests {
    struct Deliberate: Error {}

    @Test("one that throws is counted, and detached after sixteen times")
    func throwing() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        let calls = Box(0)
        let proxy = HostsProxy { _ in
            calls.change { $0 += 1 }
            throw Deliberate()
        }
        let subscription = try preview.subscribeHosts(listener: proxy)
        let ended = Task { await subscription.ended() }
        try await within {
            while !subscription.isEnding() {
                preview.renameHost(name: UUID().uuidString)
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        #expect(try await within { await ended.value } == .listenerFailed)
        #expect(calls.value == 16)
        // Others go on.
        #expect(try await preview.hosts.until { !$0.hosts.isEmpty }.hosts.count == 1)
    }

    @Test("one that threw once is given whole values again")
    func recovering() async throws {
        let preview = PreviewData(hosts: 1, items: 3)
        let calls = Box(0)
        let held = Box(Timeline())
        let proxy = TimelineProxy { update in
            if calls.change({ $0 += 1; return $0 }) == 1 { throw Deliberate() }
            var next = held.value
            try next.apply(update)
            held.value = next
        }
        let subscription = try preview.subscribeTimeline(listener: proxy)
        try await within { while calls.value == 0 { try await Task.sleep(for: .milliseconds(1)) } }
        preview.append(text: "after")
        try await within { while held.value.items.count != 4 { try await Task.sleep(for: .milliseconds(1)) } }
        #expect(held.value.items.last?.text == "after")
        subscription.cancel()
    }

    @Test("LS-15: one may call the library")
    func reentrant() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        let names = Box<Set<String>>([])
        let inner = Box<Subscription?>(nil)
        let outer = try preview.subscribeHosts(
            listener: HostsProxy { snapshot in
                let isFirst = names.change { $0.insert(snapshot.hosts[0].name); return $0.count == 1 }
                guard isFirst else { return }
                preview.renameHost(name: "from inside")
                inner.value = try preview.subscribeHosts(
                    listener: HostsProxy { other in
                        names.change { _ = $0.insert("inner \(other.hosts[0].name)") }
                    })
            })
        try await within {
            while !names.value.isSuperset(of: ["from inside", "inner from inside"]) {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        outer.cancel()
        inner.value?.cancel()
    }

    @Test("a subscription may be ended in its own callback, and is not called again")
    func endInside() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        let calls = Box(0)
        let own = Box<Subscription?>(nil)
        let ready = DispatchSemaphore(value: 0)
        let subscription = try preview.subscribeHosts(
            listener: HostsProxy { _ in
                ready.wait()
                calls.change { $0 += 1 }
                own.value?.cancel()
                own.value?.cancel()
            })
        own.value = subscription
        ready.signal()
        #expect(try await within { await subscription.ended() } == .cancelled)
        preview.renameHost(name: "nobody hears it")
        // A later subscription's delivery comes after whatever was due to the first one.
        _ = try await preview.hosts.until { $0.hosts[0].name == "nobody hears it" }
        #expect(calls.value == 1)
        own.value = nil
    }

    @Test("a call that is on its way at the end reaches no loop")
    func late() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        let entered = Box(false)
        let leave = DispatchSemaphore(value: 0)
        let seen = Box(0)
        let slow = Snapshots(
            0,
            apply: { (value: inout Int, _: HostsSnapshot) in
                entered.value = true
                leave.wait()
                value += 1
            }
        ) { receive in try preview.subscribeHosts(listener: HostsProxy(receive)) }
        let loop = Task {
            for try await _ in slow { seen.change { $0 += 1 } }
        }
        try await within { while !entered.value { try await Task.sleep(for: .milliseconds(1)) } }
        loop.cancel()
        leave.signal()
        _ = await loop.result
        _ = try await preview.hosts.until { !$0.hosts.isEmpty }
        #expect(seen.value == 0)
    }

    @Test("a runtime may be dropped while a callback of it runs, and its subscription ends", .timeLimit(.minutes(2)))
    func droppedInMidCallback() async throws {
        let folder = try Folder()
        var runtime: BowlineRuntime? = try BowlineRuntime(config: config(folder.path))
        let (entered, leave) = (Flag(), DispatchSemaphore(value: 0))
        let subscription = try runtime?.subscribeHosts(
            listener: HostsProxy { _ in
                _ = entered.set()
                leave.wait()
            })
        try await within { while !entered.isSet { try await Task.sleep(for: .milliseconds(1)) } }
        weak var gone = runtime
        runtime = nil
        #expect(gone == nil)
        leave.signal()
        let ended = try #require(subscription)
        #expect(try await within { await ended.ended() } == .runtimeClosed)
    }

    @Test("an app may let go of everything in a callback, without a word", .timeLimit(.minutes(2)))
    func forgottenInCallback() async throws {
        let (folder, platform) = (try Folder(), HandPlatform())
        let held = Box<Bowline?>(try Bowline(config(folder.path), platform: platform))
        weak var gone = held.value
        let preview = PreviewData(hosts: 1, items: 0)
        // The last reference goes on the library's own thread.
        let subscription = try preview.subscribeHosts(listener: HostsProxy { _ in held.value = nil })
        try await within { while !platform.ended.isSet { try await Task.sleep(for: .milliseconds(1)) } }
        #expect(gone == nil)
        subscription.cancel()
        #expect(try await within { await subscription.ended() } == .cancelled)
        // The folder is free for the next one.
        try await Bowline(config(folder.path), platform: NoPlatform()).shutdown()
    }

    @Test("one that blocks holds up the others, and not the library; they get the newest when it lets go")
    func blocking() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        let (entered, leave, names) = (Flag(), DispatchSemaphore(value: 0), Box<[String]>([]))
        let blocked = try preview.subscribeHosts(
            listener: HostsProxy { _ in
                if entered.set() { leave.wait() }
            })
        try await within { while !entered.isSet { try await Task.sleep(for: .milliseconds(1)) } }
        let other = try preview.subscribeHosts(
            listener: HostsProxy { snapshot in names.change { $0.append(snapshot.hosts[0].name) } })
        // None of these calls waits for it.
        for n in 1...1_000 { preview.renameHost(name: "\(n)") }
        blocked.cancel()
        #expect(names.value.isEmpty)
        leave.signal()
        try await within { while names.value.last != "1000" { try await Task.sleep(for: .milliseconds(1)) } }
        #expect(names.value.count <= 2, "\(names.value)")
        other.cancel()
    }

    @Test("a listener that nobody ends goes with its subscription")
    func forgotten() async throws {
        let preview = PreviewData(hosts: 1, items: 0)
        weak var gone: HostsProxy?
        do {
            let proxy = HostsProxy { _ in }
            gone = proxy
            _ = try preview.subscribeHosts(listener: proxy)
        }
        try await within { @Sendable in
            // The dispatcher lets go of it in its own time.
            _ = try await preview.hosts.until { !$0.hosts.isEmpty }
        }
        for _ in 0..<2_000 where gone != nil { try await Task.sleep(for: .milliseconds(5)) }
        #expect(gone == nil)
    }
}
