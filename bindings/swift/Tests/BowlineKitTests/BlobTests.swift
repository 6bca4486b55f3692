import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("Blobs of a host in an app, with a real daemon", .serialized)
struct BlobTests {
    private static let mib = 1 << 20

    /// Bytes of which no two pieces are equal.
    private func made(_ size: Int) -> Data {
        let numbers = (0..<UInt32(size / 4)).map { $0 &* 2_654_435_761 }
        return numbers.withUnsafeBytes { Data($0) }
    }

    private func paired(_ world: World, _ folder: Folder) async throws -> (Bowline, server: String) {
        let bowline = try Bowline(config(folder.path), platform: NoPlatform())
        let server = try await bowline.pair(world.offer(0)).serverId
        try await bowline.online(.direct)
        return (bowline, server)
    }

    private func failure(_ call: () async throws -> Void) async -> BowlineError? {
        do {
            try await call()
            return nil
        } catch {
            return error as? BowlineError
        }
    }

    @Test(
        "LD-8: a blob goes there over a cut and comes back equal, with progress, and is refused to another device",
        .timeLimit(.minutes(3)))
    func thereAndBack() async throws {
        let (world, folder) = (try World("voxel"), try Folder())
        let (bowline, server) = try await paired(world, folder)
        let data = made(24 * Self.mib)
        let last = Box<TransferProgress?>(nil)
        async let putting = bowline.putBlob(data, on: server) { last.value = $0 }
        try await eventually("bytes move") { (last.value?.done ?? 0) > 0 && last.value?.state == .moving }
        try world.cut(0)
        try await eventually("it waits") { last.value?.state == .waiting }
        try world.heal(0)
        let hash = try await putting
        let size = UInt64(data.count)
        #expect(last.value == TransferProgress(state: .done, hash: hash, done: size, total: size))
        #expect(try await bowline.getBlob(hash, on: server) == data)

        let files = try Folder()
        let (source, target) = (URL(fileURLWithPath: "\(files.path)/source"), URL(fileURLWithPath: "\(files.path)/target"))
        try Data("of a file".utf8).write(to: source)
        let named = try await bowline.putBlob(source, on: server)
        try await bowline.getBlob(named, on: server, to: target)
        #expect(try Data(contentsOf: target) == Data("of a file".utf8))
        let missing = await failure { _ = try await bowline.putBlob(URL(fileURLWithPath: "\(files.path)/none"), on: server) }
        guard case .Storage = missing else { throw Late(description: "\(String(describing: missing))") }

        let another = try Folder()
        let (other, _) = try await paired(world, another)
        let refused = await failure { _ = try await other.getBlob(hash, on: server) }
        guard case .Rejected(_, _, _, .notFound) = refused else { throw Late(description: "\(String(describing: refused))") }
        let of = BlobOf.table(name: "voxel.projects", paramsJson: "{}")
        let through = await failure { _ = try await other.getBlob(hash, of: of, on: server) }
        guard case .Rejected = through else { throw Late(description: "\(String(describing: through))") }
        try await other.shutdown()
        try await bowline.shutdown()
    }

    @Test(
        "LD-8: a device that may see an item gets the blob that it refers to through it, and through nothing else",
        .timeLimit(.minutes(3)))
    func throughAnItem() async throws {
        let castle = try await Castle()
        let (bowline, server) = (castle.bowline, castle.server)
        let picture = made(Self.mib)
        let hash = try await bowline.putBlob(picture, on: server)
        let folder = try Folder()
        let (other, _) = try await paired(castle.world, folder)
        let params = String(decoding: try JSONEncoder().encode(castle.params), as: UTF8.self)
        let notes = BlobOf.log(name: "voxel.notes", paramsJson: params)
        let projects = BlobOf.table(name: "voxel.projects", paramsJson: params)
        func isRefused(_ of: BlobOf?) async -> Bool {
            let refused = await failure { _ = try await other.getBlob(hash, of: of, on: server) }
            guard case .Rejected(_, _, _, .notFound) = refused else { return false }
            return true
        }
        #expect(await isRefused(notes))
        try await castle.run("add_note", ["by": "ana", "text": "The gate", "picture": hash])
        #expect(try await other.getBlob(hash, of: notes, on: server) == picture)
        let target = URL(fileURLWithPath: "\(folder.path)/gate")
        try await other.getBlob(hash, of: notes, on: server, to: target)
        #expect(try Data(contentsOf: target) == picture)
        #expect(await isRefused(nil))
        #expect(await isRefused(projects))
        try await other.shutdown()
        try await bowline.shutdown()
    }

    @Test(
        "LD-8: cancelling the task cancels the transfer, and another call goes on where it stopped",
        .timeLimit(.minutes(3)))
    func cancelled() async throws {
        let (world, folder) = (try World("voxel"), try Folder())
        let (bowline, server) = try await paired(world, folder)
        let data = made(16 * Self.mib)
        let moved = UInt64(2 * Self.mib)
        let last = Box<TransferProgress?>(nil)
        let putting = Task { try await bowline.putBlob(data, on: server) { last.value = $0 } }
        try await eventually("bytes move") { (last.value?.done ?? 0) > moved }
        putting.cancel()
        let ended = await failure { _ = try await putting.value }
        guard case .Cancelled = ended else { throw Late(description: "\(String(describing: ended))") }

        let first = Box<TransferProgress?>(nil)
        _ = try await bowline.putBlob(data, on: server) { progress in
            if progress.state == .moving { first.change { $0 = $0 ?? progress } }
        }
        #expect((first.value?.done ?? 0) >= moved)
        try await bowline.shutdown()
    }
}
