import Foundation
import Testing

@testable import BowlineKit

@Suite("What concerns a whole process: its end, and the library that it finds", .serialized)
struct ProcessTests {
    /// Runs the test program to its end; its exit code and what it printed.
    private func run(
        _ arguments: [String], program: String = "bowline-test-app", libraries: String? = nil
    ) throws -> (Int32, String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "\(try variable("BOWLINE_SWIFT_BUILT"))/\(program)")
        process.arguments = arguments
        if let libraries {
            var environment = ProcessInfo.processInfo.environment
            environment["LD_LIBRARY_PATH"] = libraries
            environment["DYLD_LIBRARY_PATH"] = libraries
            process.environment = environment
        }
        let output = Pipe()
        (process.standardOutput, process.standardError) = (output, output)
        try process.run()
        let said = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: said, as: UTF8.self))
    }

    @Test("a process that ends while subscribed ends as it says", .timeLimit(.minutes(2)))
    func exit() throws {
        let (code, said) = try run(["return"])
        #expect(code == 3)
        #expect(said == "called\n")
    }

    @Test("a process that closes nothing, and whose callback never returns, ends as it says", .timeLimit(.minutes(2)))
    func forgotten() throws {
        let folder = try Folder()
        for _ in 0..<2 {
            // The second finds what the first left.
            let (code, said) = try run(["forget", folder.path])
            #expect(code == 4)
            #expect(said == "called\n")
        }
    }

    @Test("an old library under new bindings is refused, and says so", .timeLimit(.minutes(2)))
    func oldLibrary() throws {
        let folder = try Folder()
        #if canImport(Darwin)
            let name = "libbowline_ffi.dylib"
        #else
            let name = "libbowline_ffi.so"
        #endif
        var bytes = try Data(contentsOf: URL(fileURLWithPath: "\(variable("BOWLINE_LIBRARY_DIR"))/\(name)"))
        // Another release's: it says another version, and does not have all that these bindings call.
        #expect(replace("bowline-ffi 0.", "bowline-ffi 9.", in: &bytes) > 0, "the library does not say what it is")
        #expect(replace("uniffi_bowline_ffi_checksum", "uniffi_bowline_ffi_unheard_", in: &bytes) > 0)
        try bytes.write(to: folder.file(name))
        let (code, said) = try run(["open", folder.path], libraries: folder.path)
        #expect(code == 0)
        #expect(said.hasPrefix("refused: the native library is `bowline-ffi 9."), "\(said)")
    }

    private func replace(_ old: String, _ new: String, in bytes: inout Data) -> Int {
        var (found, from) = (0, bytes.startIndex)
        while let range = bytes.range(of: Data(old.utf8), in: from..<bytes.endIndex) {
            bytes.replaceSubrange(range, with: Data(new.utf8))
            (found, from) = (found + 1, range.upperBound)
        }
        return found
    }

    @Test("the guide's program does what the page says", .timeLimit(.minutes(3)))
    func guide() throws {
        let (world, folder) = (try World(), try Folder())
        let (code, said) = try run([folder.path, world.offer(0, 2)], program: "bowline-guide")
        #expect(code == 0, "\(said)")
        #expect(said.contains(": online"), "\(said)")
        #expect(said.contains("output it works"), "\(said)")
    }
}
