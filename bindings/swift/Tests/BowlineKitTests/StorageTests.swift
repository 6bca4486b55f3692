import Foundation
import Testing

@testable import BowlineKit

@Suite("Identity and storage: what cannot be used is an error, and nothing is made in its place (INV-9)")
struct StorageTests {
    private func open(_ path: String, _ store: (any KeyStore)? = nil) throws -> Bowline {
        try Bowline(config(path), keyStore: store, platform: NoPlatform())
    }

    /// The error of something that must fail.
    private func error(_ body: () throws -> Void) throws -> BowlineError {
        do {
            try body()
        } catch let error as BowlineError {
            return error
        }
        throw Late(description: "it did not fail")
    }

    @Test("INV-9: a profile without its identity is an error and stays as it is", .timeLimit(.minutes(5)))
    func profile() async throws {
        let folder = try Folder()
        try await open(folder.path).shutdown()
        let profile = folder.file("profile.json")
        let whole = try String(contentsOf: profile, encoding: .utf8)
        for bad in ["{}", "", "not JSON", whole.replacingOccurrences(of: "secret", with: "other")] {
            try bad.write(to: profile, atomically: true, encoding: .utf8)
            let found = try error { _ = try open(folder.path) }
            guard case .CorruptStorage(let detail, .checkStorage, _) = found else {
                Issue.record("\(found)")
                continue
            }
            #expect(detail.contains("profile.json"))
            #expect(try String(contentsOf: profile, encoding: .utf8) == bad)
        }
    }

    @Test("INV-9: hosts that know an identity which is gone are an error, and no other is made for them")
    func identityGone() async throws {
        let folder = try Folder()
        try await open(folder.path).shutdown()
        let address = ["path": "direct", "address": "127.0.0.1:1"]
        let host: [String: Any] = [
            "serverId": "srv_n2kjrqwbsjavrpwflguf4ecx4m", "name": "host", "addresses": [address],
            "transportKey": String(repeating: "A", count: 43),
        ]
        let hosts = try JSONSerialization.data(withJSONObject: ["version": 1, "hosts": [host]])
        try hosts.write(to: folder.file("hosts.json"))
        try FileManager.default.removeItem(at: folder.file("profile.json"))
        let found = try error { _ = try open(folder.path) }
        guard case .InvalidIdentity = found else {
            Issue.record("\(found)")
            return
        }
        #expect(found.advice == .checkStorage)
        #expect(!FileManager.default.fileExists(atPath: folder.file("profile.json").path))
    }

    @Test("hosts that cannot be read are an error that names their file, and stay as they are")
    func corruptHosts() async throws {
        let folder = try Folder()
        try await open(folder.path).shutdown()
        let hosts = folder.file("hosts.json")
        try "not JSON".write(to: hosts, atomically: true, encoding: .utf8)
        let found = try error { _ = try open(folder.path) }
        guard case .CorruptStorage(let detail, .checkStorage, _) = found else {
            Issue.record("\(found)")
            return
        }
        #expect(detail.contains("hosts.json"))
        #expect(try String(contentsOf: hosts, encoding: .utf8) == "not JSON")
    }

    @Test("a folder that cannot be made is an error that names it")
    func unwritable() throws {
        let folder = try Folder()
        try "in the way".write(to: folder.file("file"), atomically: true, encoding: .utf8)
        let found = try error { _ = try open("\(folder.path)/file/storage") }
        guard case .Storage(let detail, _, _) = found else {
            Issue.record("\(found)")
            return
        }
        #expect(detail.contains("\(folder.path)/file"))
    }

    @Test("a key store keeps the identity, and the folder does not")
    func keyStore() async throws {
        let (folder, store) = (try Folder(), MemoryStore())
        try await open(folder.path, store).shutdown()
        #expect(!FileManager.default.fileExists(atPath: folder.file("profile.json").path))
        let kept = store.values.value["profile.json"]
        #expect(kept != nil)
        try await open(folder.path, store).shutdown()
        #expect(store.values.value["profile.json"] == kept)
    }

    @Test("INV-9: a key store that is locked is an error, and nothing is written to it")
    func lockedKeyStore() throws {
        let folder = try Folder()
        let found = try error { _ = try open(folder.path, LockedStore()) }
        guard case .Storage(let detail, _, _) = found else {
            Issue.record("\(found)")
            return
        }
        #expect(detail.contains("locked"))
    }

    @Test("INV-9: a key store that throws whatever it likes is an error as well")
    func failingKeyStore() throws {
        let folder = try Folder()
        let found = try error { _ = try open(folder.path, FailingStore()) }
        guard case .Storage(let detail, _, _) = found else {
            Issue.record("\(found)")
            return
        }
        #expect(detail.contains("out of order"))
    }

    @Test("INV-9: malformed names are errors")
    func malformed() async throws {
        let folder = try Folder()
        let bowline = try open(folder.path)
        let prompt = Intent.sendPrompt(agentId: "agt_nonsense", text: "hello")
        guard case .InvalidIdentity = try error({ try bowline.send(prompt, to: "nonsense") }) else {
            Issue.record("another error")
            return
        }
        await #expect(throws: BowlineError.self) { try await bowline.pair("https://example.com") }
    }

    @Test("TR-14: an offer is inspected before it is confirmed, and one that was tampered with is an error")
    func inspected() throws {
        let folder = try Folder()
        let bowline = try open(folder.path)
        let server = "srv_" + String(repeating: "a", count: 26)
        let key = String(repeating: "A", count: 43)
        let token = String(repeating: "A", count: 22)
        let link =
            "bowline://pair?v=1&s=\(server)&k=\(key)&t=\(token)&n=workshop&d=192.168.1.5:4717&r=wss://relay.example.org"
        let offer = try bowline.inspectOffer(link)
        #expect(offer.serverId == server)
        #expect(offer.name == "workshop")
        #expect(offer.host == .unknown)
        #expect(
            offer.addresses == [
                OfferAddress(path: .direct, address: "192.168.1.5:4717", reach: .private),
                OfferAddress(path: .relay, address: "wss://relay.example.org", reach: .public),
            ])
        guard case .InvalidOffer = try error({ try bowline.inspectOffer(link + "#x") }) else {
            Issue.record("another error")
            return
        }
    }

    @Test("TR-11: a folder that others may write to is an error of its own")
    func notPrivate() throws {
        let folder = try Folder()
        try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: folder.path)
        guard case .StorageNotPrivate(let detail, .checkStorage, _) = try error({ try open(folder.path) }) else {
            Issue.record("another error")
            return
        }
        #expect(detail.contains("chmod 700"))
    }

    @Test("a host that is not known is an error of the call, and of the screen")
    @MainActor
    func unknownHost() async throws {
        let folder = try Folder()
        let bowline = try open(folder.path)
        let server = "srv_" + String(repeating: "a", count: 26)
        let agent = "agt_00000000-0000-7000-8000-000000000000"
        #expect(throws: BowlineError.self) { try bowline.send(.cancel(agentId: agent), to: server) }
        let store = AgentScreenStore(bowline, serverId: server, agentId: agent)
        try await eventually("the screen says so") { store.failure is BowlineError }
    }

    @Test("after the end every call says so, and the end may come often")
    func closed() async throws {
        let folder = try Folder()
        let bowline = try open(folder.path)
        bowline.close()
        bowline.close()
        try await bowline.shutdown()
        guard case .Closed = try error({ try bowline.refresh() }) else {
            Issue.record("another error")
            return
        }
        await #expect(throws: BowlineError.self) { for try await _ in bowline.hosts {} }
    }

    @Test("an old library under new bindings is refused by name")
    func abi() throws {
        #expect(throws: LibraryMismatch.self) { try Library.check(found: "bowline-ffi 0.0.1 0") }
    }
}

/// A key store in memory.
final class MemoryStore: KeyStore {
    let values = Box<[String: Data]>([:])

    func read(name: String) throws -> Data? { values.value[name] }

    func write(name: String, value: Data) throws { values.change { $0[name] = value } }
}

/// A key store whose user has not unlocked it.
final class LockedStore: KeyStore {
    func read(name: String) throws -> Data? { throw KeyStoreError.Failed(detail: "locked") }

    func write(name: String, value: Data) throws { Issue.record("it was written to") }
}

/// A key store that fails in its own way.
final class FailingStore: KeyStore {
    func read(name: String) throws -> Data? { throw Late(description: "out of order") }

    func write(name: String, value: Data) throws { Issue.record("it was written to") }
}
