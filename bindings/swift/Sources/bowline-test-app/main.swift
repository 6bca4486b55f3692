// Another process, for tests of what concerns a whole process: its end, and the library that it finds.

import BowlineKit
import Foundation

let arguments = CommandLine.arguments
switch arguments.dropFirst().first {
case "return":
    // Returns in the middle of a callback of a subscription that nobody ends.
    let called = DispatchSemaphore(value: 0)
    let rehearsal = Rehearsal(hosts: 1, items: 0)
    let loop = Task.detached {
        for try await _ in rehearsal.hosts { called.signal() }
    }
    called.wait()
    print("called")
    exit(withExtendedLifetime(loop) { 3 })
case "open":
    do {
        let config = RuntimeConfig(storageFolder: arguments[2], appName: "test", appVersion: "1")
        try Bowline(config, platform: NoPlatform()).close()
        print("opened")
    } catch {
        print("refused: \(error)")
    }
default:
    print("what to do? `return` or `open FOLDER`")
    exit(2)
}
