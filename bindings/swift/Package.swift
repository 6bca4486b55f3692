// swift-tools-version: 6.0
// The Swift bindings of Bowline. `cargo xtask bindings swift` writes what is in `generated`, and `cargo xtask test` builds
// and tests the package.
//
// An app's release has the native library as `BowlineFFIC.xcframework` (`cargo xtask package xcframework`). While it is not
// there the library that cargo built is linked, from the folder that `BOWLINE_LIBRARY_DIR` names.

import Foundation
import PackageDescription

let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
let framework = "BowlineFFIC.xcframework"
let isPackaged = FileManager.default.fileExists(atPath: folder.appendingPathComponent(framework).path)
let libraries = ProcessInfo.processInfo.environment["BOWLINE_LIBRARY_DIR"] ?? "../../target/debug"

let native: Target = isPackaged
    ? .binaryTarget(name: "BowlineFFIC", path: framework)
    : .systemLibrary(name: "BowlineFFIC", path: "generated/BowlineFFIC")
let linking: [LinkerSetting] = isPackaged
    ? []
    : [.unsafeFlags(["-L\(libraries)"]), .linkedLibrary("bowline_ffi")]

// The program of docs/swift.md, where the tests have taken it out of the page.
let hasGuide = FileManager.default.fileExists(atPath: folder.appendingPathComponent("generated/Guide").path)
let guide: [Target] = hasGuide
    ? [.executableTarget(name: "bowline-guide", dependencies: ["BowlineKit"], path: "generated/Guide")]
    : []

let package = Package(
    name: "Bowline",
    platforms: [.iOS(.v17), .macOS(.v14), .tvOS(.v17), .watchOS(.v10), .visionOS(.v1)],
    products: [.library(name: "BowlineKit", targets: ["BowlineKit"])],
    targets: [
        native,
        .target(
            name: "BowlineFFI", dependencies: ["BowlineFFIC"], path: "generated/BowlineFFI",
            linkerSettings: linking),
        .target(name: "BowlineKit", dependencies: ["BowlineFFI"]),
        // Another process, for tests of what concerns a whole process.
        .executableTarget(name: "bowline-test-app", dependencies: ["BowlineKit", "BowlineFFI"]),
        // What the boundary costs: `cargo xtask bench bindings`.
        .executableTarget(name: "bowline-bench-app", dependencies: ["BowlineKit", "BowlineFFI"]),
        .testTarget(name: "BowlineKitTests", dependencies: ["BowlineKit", "BowlineFFI"]),
    ] + guide,
    swiftLanguageModes: [.v6]
)
