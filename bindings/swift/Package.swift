// swift-tools-version: 6.0
// The Swift bindings of Bowline, as they are developed. `cargo xtask bindings swift` writes what is in `generated`, and
// `cargo xtask test` builds and tests the package with the library that cargo built, from the folder that
// `BOWLINE_LIBRARY_DIR` names.
//
// What apps are given has a manifest of its own, in `Release`.

import Foundation
import PackageDescription

let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
let libraries = ProcessInfo.processInfo.environment["BOWLINE_LIBRARY_DIR"] ?? "../../target/debug"

// The program of docs/swift.md, where the tests have taken it out of the page.
let hasGuide = FileManager.default.fileExists(atPath: folder.appendingPathComponent("generated/Guide").path)
let guide: [Target] = hasGuide
    ? [.executableTarget(name: "bowline-guide", dependencies: ["BowlineKit"], path: "generated/Guide")]
    : []

let package = Package(
    name: "Bowline",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "BowlineKit", targets: ["BowlineKit"])],
    targets: [
        .systemLibrary(name: "BowlineFFIC", path: "generated/BowlineFFIC"),
        .target(
            name: "BowlineFFI", dependencies: ["BowlineFFIC"], path: "generated/BowlineFFI",
            linkerSettings: [.unsafeFlags(["-L\(libraries)"]), .linkedLibrary("bowline_ffi")]),
        .target(name: "BowlineKit", dependencies: ["BowlineFFI", "BowlineFFIC"]),
        // Another process, for tests of what concerns a whole process.
        .executableTarget(name: "bowline-test-app", dependencies: ["BowlineKit", "BowlineFFI"]),
        // What the boundary costs: `cargo xtask bench bindings`.
        .executableTarget(name: "bowline-bench-app", dependencies: ["BowlineKit", "BowlineFFI"]),
        .testTarget(name: "BowlineKitTests", dependencies: ["BowlineKit", "BowlineFFI"]),
    ] + guide,
    swiftLanguageModes: [.v6]
)
