// Another process, for tests of what concerns a whole process: its end, and the library that it finds.

import BowlineFFI
import BowlineKit
import Foundation

let arguments = CommandLine.arguments
switch arguments.dropFirst().first {
case "return":
    // Returns in the middle of a callback of a subscription that nobody ends.
    let called = DispatchSemaphore(value: 0)
    let preview = PreviewData(hosts: 1, items: 0)
    let loop = Task.detached {
        for try await _ in preview.hosts { called.signal() }
    }
    called.wait()
    print("called")
    exit(withExtendedLifetime(loop) { 3 })
case "forget":
    // Returns with everything open and running, in a callback that never returns as well.
    let called = DispatchSemaphore(value: 0)
    let config = RuntimeConfig(storageFolder: arguments[2], appName: "test", appVersion: "1")
    let bowline = try Bowline(config)
    let loop = Task.detached {
        for try await _ in bowline.hosts { called.signal() }
    }
    called.wait()
    let stuck = try PreviewData(hosts: 1, items: 0).subscribeHosts(listener: Stuck(called))
    called.wait()
    print("called")
    exit(withExtendedLifetime((bowline, loop, stuck)) { 4 })
case "open":
    do {
        let config = RuntimeConfig(storageFolder: arguments[2], appName: "test", appVersion: "1")
        try Bowline(config, platform: NoPlatform()).close()
        print("opened")
    } catch {
        print("refused: \(error)")
    }
default:
    print("what to do? `return`, `forget FOLDER` or `open FOLDER`")
    exit(2)
}

/// A callback that never returns.
final class Stuck: HostsListener {
    private let called: DispatchSemaphore
    init(_ called: DispatchSemaphore) { self.called = called }

    func onHosts(snapshot: HostsSnapshot) {
        called.signal()
        while true { sleep(1_000) }
    }
}
