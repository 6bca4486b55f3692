import BowlineKit
import Foundation
import Observation

// The app without a window: it draws every screen as lines, ended by `---`, and takes commands. Argument: a folder of its own.
// With SwiftUI this file is an `App` instead, whose scene is `ContentView(model:)` of Views.swift.

let bowline = try Bowline(RuntimeConfig(storageFolder: CommandLine.arguments[1], appName: "voxel", appVersion: "1.0"))
let model = VoxelModel(bowline)
let running = Task { await model.run() }
draw()
for await line in commands() { await obey(line.split(separator: " ").map(String.init)) }
running.cancel()
try await bowline.shutdown()

/// What a user does with buttons and fields.
@MainActor
func obey(_ words: [String]) async {
    let name = words.count > 1 ? words[1] : ""
    let layer = model.layers?.rows.first { $0.value?.name == name }?.value
    switch (words.first, layer) {
    case ("link", _): model.inspect(name)
    case ("pair", _): await model.pair()
    case ("choose", _): model.choose(name)
    case ("create", _): model.create(name)
    case ("add", _): model.add(name)
    case ("rename", let layer?): model.rename(layer, to: words.last ?? "")
    case ("paint", let layer?): model.paint(layer, .grass)
    case ("remove", _): model.remove(name)
    case ("dismiss", _):
        if let failure = model.layers?.rows.first(where: { $0.failure != nil })?.failure { model.dismiss(failure) }
    case ("more", _): model.loadMoreLayers()
    case ("older", _): model.loadOlderEdits()
    default: break
    }
}

/// Draws the screen, and again when what it read has changed, as SwiftUI does with a view.
@MainActor
func draw() {
    let lines = withObservationTracking {
        drawn(model)
    } onChange: {
        Task { @MainActor in draw() }
    }
    FileHandle.standardOutput.write(Data(((lines + ["---"]).joined(separator: "\n") + "\n").utf8))
}

/// Lines of standard input, until it ends.
func commands() -> AsyncStream<String> {
    AsyncStream { lines in
        Thread.detachNewThread {
            while let line = readLine() { lines.yield(line) }
            lines.finish()
        }
    }
}
