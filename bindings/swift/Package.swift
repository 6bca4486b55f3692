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

/// What the tests have put there: the program and the fragments of docs/swift.md, and the app of examples/voxel.
func placed(_ path: String, _ target: Target) -> [Target] {
    FileManager.default.fileExists(atPath: folder.appendingPathComponent(path).path) ? [target] : []
}

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
    ]
        + placed("generated/Guide", .executableTarget(name: "bowline-guide", dependencies: ["BowlineKit"], path: "generated/Guide"))
        + placed("generated/Voxel", .executableTarget(name: "bowline-voxel", dependencies: ["BowlineKit"], path: "generated/Voxel"))
        + placed("generated/Fragments", .target(name: "Fragments", dependencies: ["BowlineKit"], path: "generated/Fragments")),
    swiftLanguageModes: [.v6]
)
