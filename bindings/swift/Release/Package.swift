// swift-tools-version: 6.0
// The package as apps are given it: `cargo xtask package xcframework` puts this manifest beside the sources, the generated
// ones among them, and the native library for Apple's systems.
//
// On Linux the library is linked as any of the system's: its folder, `lib` or another, is told to the linker,
// `-Xlinker -L<folder>`.

import PackageDescription

#if os(macOS)
    let native: Target = .binaryTarget(name: "BowlineFFIC", path: "BowlineFFIC.xcframework")
    let linking: [LinkerSetting] = []
#else
    let native: Target = .systemLibrary(name: "BowlineFFIC", path: "Sources/BowlineFFIC")
    let linking: [LinkerSetting] = [.linkedLibrary("bowline_ffi")]
#endif

let package = Package(
    name: "Bowline",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "BowlineKit", targets: ["BowlineKit"])],
    targets: [
        native,
        .target(name: "BowlineFFI", dependencies: ["BowlineFFIC"], linkerSettings: linking),
        .target(name: "BowlineKit", dependencies: ["BowlineFFI", "BowlineFFIC"]),
    ],
    swiftLanguageModes: [.v6]
)
