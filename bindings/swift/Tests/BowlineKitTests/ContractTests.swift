import BowlineFFI
import Foundation
import Testing

@testable import BowlineKit

@Suite("What the hand-written part promises by itself")
struct ContractTests {
    private struct Text: Codable, Sendable { var text: String }

    @Test("every list makes of changes what the other languages make of them")
    func lists() throws {
        try check(listCases("growing"), Timeline()) { timeline, step in
            try timeline.apply(
                TimelineUpdate(
                    baseRev: step.base, rev: step.rev, changes: step.changes, rows: step.rows.map(item), pending: nil,
                    failed: nil, loaded: true, catchingUp: false, older: .none, newer: .none, replaced: 0, error: nil))
        } shown: {
            $0.items.map(\.text)
        }
        for growing: (@Sendable (inout Text, String) -> Void)? in [{ $0.text += $1 }, nil] {
            let reader = ItemReader<Text>(decode: decoded, growing: growing)
            try check(listCases("growing"), LiveLog<Text>()) { log, step in
                let rows = try step.rows.enumerated().map { at, text in
                    JsonItem(
                        index: UInt32(at), json: try encoded(Text(text: text)), growing: "text", omittedBytes: nil,
                        unreadable: false, id: String(at), pending: false, failure: nil)
                }
                let update = LogUpdate(
                    baseRev: step.base, rev: step.rev, changes: step.changes, rows: rows, state: .ready, error: nil,
                    older: .none, truncated: false, first: 0, next: 0)
                try log.apply(update, reader: reader)
            } shown: {
                $0.items.compactMap(\.value?.text)
            }
        }
        try check(listCases("fixed"), Directory()) { directory, step in
            let rows = step.rows.map { DirectoryRow(key: $0, serverId: "srv", agent: nil, pending: nil) }
            try directory.apply(
                DirectoryUpdate(
                    baseRev: step.base, rev: step.rev, changes: step.changes, rows: rows, loading: false, hosts: []))
        } shown: {
            $0.rows.map(\.key)
        }
        try check(listCases("fixed"), LiveTable<String>()) { table, step in
            let rows = step.rows.map {
                BowlineFFI.TableRow(key: $0, json: $0, omittedBytes: nil, unreadable: false, pending: false, failure: nil)
            }
            let update = TableUpdate(
                baseRev: step.base, rev: step.rev, changes: step.changes, rows: rows, state: .ready, error: nil,
                more: .none, truncated: false)
            try table.apply(update) { $0 }
        } shown: {
            $0.rows.compactMap(\.value)
        }
    }

    private func check<List>(
        _ cases: [(name: String, steps: [Step])], _ empty: List, apply: (inout List, Step) throws -> Void,
        shown: (List) -> [String]
    ) throws {
        #expect(cases.count > 6)
        for (name, steps) in cases {
            var list = empty
            for step in steps {
                var next = list
                if let shows = step.shows {
                    try apply(&next, step)
                    #expect(shown(next) == shows, "\(name), revision \(step.rev)")
                    list = next
                } else {
                    #expect(throws: OutOfStep.self, "\(name), revision \(step.rev)") { try apply(&next, step) }
                }
            }
        }
    }

    private func item(_ text: String) -> TimelineItem {
        TimelineItem(
            id: "itm_\(text)", index: 0, kind: .message, at: Date(timeIntervalSince1970: 0), text: text, droppedBytes: 0, stream: nil, status: nil,
            exitCode: nil, intentId: nil)
    }

    @Test("BX-6: an appended item crosses alone, however long the history", arguments: [100, 10_000] as [UInt32])
    func appended(history: UInt32) async throws {
        let preview = PreviewData(hosts: 1, items: history)
        let (held, crossed) = (Box(Timeline()), Box<[TimelineUpdate]>([]))
        let subscription = try preview.subscribeTimeline(
            listener: TimelineProxy { update in
                try held.change { timeline in Result { try timeline.apply(update) } }.get()
                crossed.change { $0.append(update) }
            })
        try await within { while held.value.items.count < history { try await Task.sleep(for: .milliseconds(1)) } }
        preview.append(text: "one more")
        try await within { while held.value.items.count == history { try await Task.sleep(for: .milliseconds(1)) } }
        preview.grow(text: " and more")
        try await within {
            while held.value.items.last?.text != "one more and more" { try await Task.sleep(for: .milliseconds(1)) }
        }
        let updates = crossed.value.dropFirst()
        #expect(updates.map(\.changes.count) == [1, 1])
        #expect(updates.allSatisfy { $0.baseRev != nil })
        subscription.cancel()
    }

    @Test("a revision that went round is newer")
    func revisions() {
        func at(_ rev: UInt32) -> HostsSnapshot { HostsSnapshot(rev: rev, hosts: [], pairings: []) }
        #expect(at(4).isOlder(than: at(5)))
        #expect(!at(6).isOlder(than: at(5)))
        #expect(!at(1).isOlder(than: at(.max)))
        var held = HostsSnapshot.empty
        replaceHosts(&held, at(.max))
        #expect(held.rev == .max, "nothing is older than nothing")
    }

    @Test("an error says what to do, whatever its kind")
    func advice() {
        let refused = BowlineError.PairingRefused(detail: "used", advice: .pairAgain, reason: .pairingTokenInvalid)
        #expect(refused.advice == .pairAgain)
        #expect(refused.reason == .pairingTokenInvalid)
        #expect(refused.detail == "used")
    }

    @Test("people are told what failed and what they can do, and apps may translate it")
    func texts() {
        let error: any Error = BowlineError.TimedOut(detail: "no answer within 15 s", advice: .tryAgain, reason: nil)
        #expect(error.localizedDescription == "no answer within 15 s")
        #expect((error as? LocalizedError)?.recoverySuggestion == "Try again in a moment.")
        #expect(Advice.tryAgain.localizationKey == "bowline.advice.tryAgain")
        let gone: any Error = SubscriptionEnded(reason: .hostGone)
        #expect(gone.localizedDescription == "the host is unknown or was forgotten")
        #expect((gone as? LocalizedError)?.recoverySuggestion == nil)
        let all: [EndReason] = [
            .cancelled, .listenerFailed, .runtimeClosed, .hostGone, .unknownCreation, .tooMany, .busy, .broken,
        ]
        #expect(all.filter { SubscriptionEnded(reason: $0).advice == .tryAgain } == [.tooMany, .busy])
    }

    @Test("what the library logs is heard, up to the level that was asked for")
    func logs() async throws {
        let heard = Task {
            for try await batch in Logs.batches(.warn) {
                if let record = batch.records.first(where: { $0.message.contains("a callback failed") }) { return record }
            }
            throw Late(description: "the log ended")
        }
        let preview = PreviewData(hosts: 1, items: 0)
        let failing = try preview.subscribeHosts(listener: HostsProxy { _ in throw Late(description: "deliberate") })
        let names = Task {
            while !Task.isCancelled {
                preview.renameHost(name: UUID().uuidString)
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        let record = try await within { try await heard.value }
        #expect(record.level == .warn)
        names.cancel()
        failing.cancel()
    }
}
