import Foundation
import Testing

/// The app of `examples/voxel/swift` in a folder, as a process of its own.
private final class App: @unchecked Sendable {
    private let process = Process()
    private let commands = Pipe()
    private let output = Pipe()
    private let screen = Box<[String]>([])

    init(_ folder: Folder) throws {
        process.executableURL = URL(fileURLWithPath: "\(try variable("BOWLINE_SWIFT_BUILT"))/bowline-voxel")
        process.arguments = [folder.path]
        (process.standardInput, process.standardOutput) = (commands, output)
        try process.run()
        let (output, screen) = (output.fileHandleForReading, screen)
        Thread.detachNewThread {
            var rest = Data()
            while case let more = output.availableData, !more.isEmpty {
                rest += more
                while let end = rest.range(of: Data("---\n".utf8)) {
                    let whole = String(decoding: rest[rest.startIndex..<end.lowerBound], as: UTF8.self)
                    screen.value = whole.split(separator: "\n").map(String.init)
                    rest = Data(rest[end.upperBound...])
                }
            }
        }
    }

    func does(_ command: String) {
        commands.fileHandleForWriting.write(Data("\(command)\n".utf8))
    }

    /// Waits until the screen is as described.
    @discardableResult
    func shows(_ what: String, _ fits: ([String]) -> Bool) async throws -> [String] {
        let deadline = ContinuousClock.now + long
        while true {
            let shown = screen.value
            if fits(shown) { return shown }
            if ContinuousClock.now > deadline { throw Late(description: "not in \(long): \(what); it shows \(shown)") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Waits until the screen has these lines.
    @discardableResult
    func shows(_ lines: String...) async throws -> [String] {
        try await shows("\(lines)") { shown in lines.allSatisfy(shown.contains) }
    }

    @discardableResult
    func lacks(_ text: String) async throws -> [String] {
        try await shows("no \(text)") { shown in !shown.contains { $0.contains(text) } }
    }

    /// As the system ends an app in the background.
    func kill() {
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    /// Ends it as a user does.
    func end() throws -> Int32 {
        try commands.fileHandleForWriting.close()
        process.waitUntilExit()
        return process.terminationStatus
    }
}

@Suite("The app of examples/voxel/swift, with the real daemon of examples/voxel", .serialized)
struct VoxelTests {
    /// The app, paired, with a project and its layer `walls`, all of it done by the daemon.
    private func castle(_ world: World, _ folder: Folder) async throws -> App {
        let app = try App(folder)
        app.does("link \(try world.offer(0))")
        try await app.shows("the offer") { $0.contains { $0.hasPrefix("Pair with ") } }
        app.does("pair")
        try await app.shows("connected") { $0.contains { $0.contains("connected over") } }
        try await app.shows("Projects:", "  No projects yet.")
        app.does("create castle")
        app.does("choose castle")
        try await app.shows("  castle", "  No layers yet.", "  No edits yet.")
        app.does("add walls")
        try await app.shows("  walls: stone, 0 voxels", "  walls was added")
        return app
    }

    @Test(
        "LD-2, LD-3: what is changed during a cut is shown at once, survives the app, and is done once the computer is back",
        .timeLimit(.minutes(4)))
    func cut() async throws {
        let (world, folder) = (try World("voxel-daemon"), try Folder())
        let first = try await castle(world, folder)
        try world.cut(0)
        try await first.shows("connecting") { $0.contains { $0.contains(": connecting") } }
        first.does("add roof")
        first.does("paint walls")
        let away = try await first.shows("  roof: stone, 0 voxels (pending)", "  walls: grass, 0 voxels (pending)")
        #expect(away.filter { $0.contains("May be outdated") }.count == 3, "\(away)")
        #expect(!away.contains("  roof was added"), "\(away)")
        first.kill()

        let again = try App(folder)
        try await again.shows("connecting") { $0.contains { $0.contains(": connecting") } }
        again.does("choose castle")
        try world.heal(0)
        try await again.shows("connected") { $0.contains { $0.contains("connected over") } }
        try await again.shows("  walls: grass, 0 voxels", "  roof: stone, 0 voxels", "  roof was added")
        let done = try await again.lacks("pending")
        #expect(!done.contains { $0.contains("May be outdated") || $0.contains("refused") }, "\(done)")
        #expect(try again.end() == 0)
    }

    @Test(
        "LD-3: a layer is renamed and removed, and a change that the daemon refuses says why until it is dismissed",
        .timeLimit(.minutes(4)))
    func changes() async throws {
        let (world, folder) = (try World("voxel-daemon"), try Folder())
        let app = try await castle(world, folder)
        app.does("rename walls keep")
        try await app.shows("  keep: stone, 0 voxels", "  walls is now keep")
        try await app.lacks("walls:")
        app.does("add keep")
        try await app.shows("  keep: stone, 0 voxels (refused: there is such a layer already)")
        app.does("dismiss")
        try await app.shows("  keep: stone, 0 voxels")
        app.does("remove keep")
        try await app.shows("  No layers yet.", "  keep was removed")
        app.does("link nothing")
        try await app.shows("why not") { $0.contains { $0.hasPrefix("Not sent:") } }
        #expect(try app.end() == 0)
    }
}
