import BowlineFFI

/// What an intent is expected to change in one row of a followed table, or to add to a followed log (LD-3). The parameters are
/// those with which the table or log is followed.
public struct Patch: Sendable {
    let make: @Sendable () throws -> BowlineFFI.Patch

    private init(
        _ table: String, _ params: some Encodable & Sendable, _ key: String,
        _ change: @escaping @Sendable () throws -> PatchChange
    ) {
        make = {
            try BowlineFFI.Patch(table: table, paramsJson: encoded(params), key: key, change: change())
        }
    }

    /// The row has this value, whether or not it was there.
    public static func upsert(
        _ table: String, _ params: some Encodable & Sendable = [String: String](), key: String,
        _ value: some Encodable & Sendable
    ) -> Patch {
        Patch(table, params, key) { try .upsert(json: encoded(value)) }
    }

    /// These members of the row's value are replaced or added. Without a row nothing is shown.
    public static func merge(
        _ table: String, _ params: some Encodable & Sendable = [String: String](), key: String,
        _ members: some Encodable & Sendable
    ) -> Patch {
        Patch(table, params, key) { try .merge(json: encoded(members)) }
    }

    /// An item with this value is added at the end of the log.
    public static func append(
        _ log: String, _ params: some Encodable & Sendable = [String: String](), _ value: some Encodable & Sendable
    ) -> Patch {
        Patch(log, params, "") { try .append(json: encoded(value)) }
    }

    /// The row is gone.
    public static func remove(
        _ table: String, _ params: some Encodable & Sendable = [String: String](), key: String
    ) -> Patch {
        Patch(table, params, key) { .remove }
    }
}

extension BowlineFFI.Intent {
    /// A method of a service, with its parameters.
    ///
    /// - Throws: `EncodingError` if they cannot be JSON.
    public static func custom(_ method: String, _ params: some Encodable) throws -> Self {
        .custom(method: method, paramsJson: try encoded(params))
    }
}

/// The receipt of an intent. Dropping it changes nothing: the intent is sent all the same.
public struct Receipt: Sendable {
    /// The intent's permanent id, with which ``Bowline/outcome(of:on:)`` finds it again after a restart of the app.
    public let id: String
    private let native: BowlineFFI.SentIntent

    init(_ native: BowlineFFI.SentIntent) {
        id = native.id()
        self.native = native
    }

    /// Waits for the intent's outcome, across lost connections: known as long as this receipt is kept, whatever else ends meanwhile.
    public func outcome() async throws -> IntentOutcome {
        try await native.outcome()
    }
}

extension Bowline {
    /// As ``send(_:to:)``, and tells what the intent is expected to change: rows and logs show it at once, pending, also
    /// after a restart of the app, until the daemon's change replaces it; a refused one leaves a failure at the row until
    /// ``dismiss(_:on:)`` (LD-3). At most 64 changes with 64 KiB.
    @discardableResult
    public func send(_ intent: Intent, to serverId: String, shows patches: [Patch]) throws -> Receipt {
        let patches = try patches.map { try $0.make() }
        return Receipt(try open().sendWith(serverId: serverId, intent: intent, patches: patches))
    }

    /// Waits for the outcome of an intent, across lost connections, also of one that an earlier process of the app has sent. None if
    /// it is not known: it is neither pending, nor among the latest 64 of the host, nor a failure that is shown.
    public func outcome(of intentId: String, on serverId: String) async throws -> IntentOutcome? {
        try await open().outcome(serverId: serverId, intentId: intentId)
    }
}
