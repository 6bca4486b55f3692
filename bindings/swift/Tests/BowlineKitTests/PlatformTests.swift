import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("INV-7: the platform tells of the app's life and of the network, and views do not")
struct PlatformTests {
    @Test("INV-7: platform events come from the observer, and end with it")
    func observer() async throws {
        let folder = try Folder()
        let platform = HandPlatform()
        let bowline = try Bowline(config(folder.path), platform: platform)
        platform.target.value?.tell(.background)
        platform.target.value?.tell(.foreground)
        bowline.close()
        #expect(platform.ended.isSet)
        // A platform that is late does no harm.
        platform.target.value?.tell(.networkChanged)
    }

    @Test("a paused app lets go of its files, and another can have them")
    func pausing() async throws {
        let folder = try Folder()
        let platform = HandPlatform()
        let bowline = try Bowline(config(folder.path), platform: platform)
        let target = try #require(platform.target.value)
        try await target.pause()
        do {
            try await bowline.forget("srv_n2kjrqwbsjavrpwflguf4ecx4m")
            Issue.record("it forgot while paused")
        } catch BowlineError.Paused {}
        try await Bowline(config(folder.path), platform: NoPlatform()).shutdown()
        try await target.resume()
        try bowline.refresh()
    }

    @Test("a change of the machine's addresses is told")
    func addresses() async throws {
        let (addresses, told) = (Box<Set<String>>(["192.0.2.1"]), Flag())
        let observer = NetworkAddressObserver(every: .milliseconds(2)) { addresses.value }
        let observing = observer.observe(RecordingTarget { if $0 == .networkChanged { _ = told.set() } })
        addresses.value = ["192.0.2.1", "2001:db8::1"]
        try await within { while !told.isSet { try await Task.sleep(for: .milliseconds(1)) } }
        observing.end()
    }

    @Test("an app in the background is paused, and back in the foreground it is not")
    func life() async throws {
        let (folder, platform) = (try Folder(), HandPlatform())
        let bowline = try Bowline(config(folder.path), platform: platform)
        let life = AppLife(try #require(platform.target.value))
        await withCheckedContinuation { paused in life.enterBackground { paused.resume() } }
        await #expect(throws: BowlineError.self) { try await bowline.forget("srv_n2kjrqwbsjavrpwflguf4ecx4m") }
        life.enterForeground()
        try await within {
            while (try? await bowline.forget("srv_n2kjrqwbsjavrpwflguf4ecx4m")) == nil { try await Task.sleep(for: .milliseconds(1)) }
        }
    }

    @Test("a pause that is still running when the app is back is followed by its resume, not overtaken by it")
    func backAndForth() async throws {
        let slow = SlowTarget()
        let life = AppLife(slow)
        let dones = Box(0)
        life.enterBackground { dones.change { $0 += 1 } }
        try await within { while slow.calls.value != ["pause"] { try await Task.sleep(for: .milliseconds(1)) } }
        life.enterForeground()
        life.enterBackground { dones.change { $0 += 1 } }
        life.enterForeground()
        #expect(slow.calls.value == ["pause"], "it overtook the pause")
        slow.leave()
        try await within { while dones.value < 2 { try await Task.sleep(for: .milliseconds(1)) } }
        #expect(slow.calls.value == ["pause", "resume"])
        #expect(slow.told.value == [.background, .foreground, .background, .foreground])
    }

    @Test("a resume that fails is tried again, and no longer than the app wants it")
    func failingResume() async throws {
        let target = SlowTarget(failures: 3)
        target.leave()
        let waits = Box(0)
        let life = AppLife(target) { waits.change { $0 += 1 } }
        await withCheckedContinuation { paused in life.enterBackground { paused.resume() } }
        life.enterForeground()
        try await within { while target.calls.value.count < 5 { try await Task.sleep(for: .milliseconds(1)) } }
        #expect(target.calls.value == ["pause", "resume", "resume", "resume", "resume"])
        #expect(waits.value == 3)
    }

    @Test("the first report of a network is no change, a repeated one neither, and a flurry is one")
    func networkReports() async throws {
        let (told, gate) = (Box(0), Gate())
        let changes = NetworkChanges<String>(settled: { await gate.pass() }) { told.change { $0 += 1 } }
        for network in ["home", "home", "home"] { changes.report(network) }
        #expect(gate.waiting == 0, "nothing is to settle")
        for network in [nil, "cell", "cell", "cell and home", "home"] { changes.report(network) }
        try await within { while gate.waiting == 0 { try await Task.sleep(for: .milliseconds(1)) } }
        #expect(told.value == 0, "told before it settled")
        gate.open()
        try await within { while told.value == 0 { try await Task.sleep(for: .milliseconds(1)) } }
        #expect(gate.waiting == 1, "one flurry settles once")
        changes.report("home")
        #expect(gate.waiting == 1)
        #expect(told.value == 1)
    }

    @Test("a lost network is told when there is one again, also one as before")
    func lostNetwork() async throws {
        let (told, gate) = (Box(0), Gate())
        gate.open()
        let changes = NetworkChanges<String>(settled: { await gate.pass() }) { told.change { $0 += 1 } }
        changes.report("home")
        changes.report(nil)
        try await within { while gate.passed == 0 { try await Task.sleep(for: .milliseconds(1)) } }
        #expect(told.value == 0)
        // The flurry of the loss is over when a report can begin another.
        try await within {
            while told.value == 0 {
                changes.report(nil)
                changes.report("home")
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        changes.end()
        let last = told.value
        changes.report("elsewhere")
        #expect(told.value == last)
    }
}

/// A gate that a test opens.
private final class Gate: @unchecked Sendable {
    private let lock = NSLock()
    private var (arrived, through, isOpen) = (0, 0, false)

    var waiting: Int { lock.withLock { arrived } }
    var passed: Int { lock.withLock { through } }

    func open() { lock.withLock { isOpen = true } }

    func pass() async {
        lock.withLock { arrived += 1 }
        while !lock.withLock({ isOpen }) { try? await Task.sleep(for: .milliseconds(1)) }
        lock.withLock { through += 1 }
    }
}

/// A library that takes its time, and whose disk is locked at first.
private final class SlowTarget: PlatformTarget {
    let calls = Box<[String]>([])
    let told = Box<[PlatformEvent]>([])
    private let failures: Box<Int>
    private let mayLeave = Flag()

    init(failures: Int = 0) { self.failures = Box(failures) }

    func tell(_ event: PlatformEvent) { told.change { $0.append(event) } }

    func pause() async throws {
        calls.change { $0.append("pause") }
        while !mayLeave.isSet { try await Task.sleep(for: .milliseconds(1)) }
    }

    func resume() async throws {
        calls.change { $0.append("resume") }
        if failures.change({ $0 -= 1; return $0 >= 0 }) { throw Late(description: "locked") }
    }

    func leave() { _ = mayLeave.set() }
}

/// A platform that a test plays.
final class HandPlatform: PlatformObserver {
    let target = Box<(any PlatformTarget)?>(nil)
    let ended = Flag()

    func observe(_ target: any PlatformTarget) -> Observing {
        self.target.value = target
        let ended = ended
        return Observing { _ = ended.set() }
    }
}

/// Hears what is told.
struct RecordingTarget: PlatformTarget {
    let hear: @Sendable (PlatformEvent) -> Void

    func tell(_ event: PlatformEvent) { hear(event) }
    func pause() async throws {}
    func resume() async throws {}
}
