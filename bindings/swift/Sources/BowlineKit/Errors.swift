import BowlineFFI

extension BowlineError {
    /// The recommended action, for every case.
    public var advice: Advice { parts.advice }
    /// Text for people.
    public var detail: String { parts.detail }
    /// The reason of the lost or refused connection, if any.
    public var reason: Reason? { parts.reason }

    /// Why the daemon refused the request, if it did.
    public var refusal: Refusal? {
        if case .Rejected(_, _, _, let refusal) = self { refusal } else { nil }
    }

    private var parts: (detail: String, advice: Advice, reason: Reason?) {
        switch self {
        case .InvalidIdentity(let detail, let advice, let reason), .InvalidOffer(let detail, let advice, let reason),
            .NoPath(let detail, let advice, let reason), .Unreachable(let detail, let advice, let reason),
            .PairingRefused(let detail, let advice, let reason), .Storage(let detail, let advice, let reason),
            .CorruptStorage(let detail, let advice, let reason),
            .StorageNotPrivate(let detail, let advice, let reason), .UnknownHost(let detail, let advice, let reason),
            .TooMany(let detail, let advice, let reason), .InvalidIntent(let detail, let advice, let reason),
            .InvalidQuery(let detail, let advice, let reason),
            .OutboxFull(let detail, let advice, let reason), .Rejected(let detail, let advice, let reason, _),
            .Disconnected(let detail, let advice, let reason), .TimedOut(let detail, let advice, let reason),
            .NotConnected(let detail, let advice, let reason), .Paused(let detail, let advice, let reason),
            .Closed(let detail, let advice, let reason), .Broken(let detail, let advice, let reason),
            .Internal(let detail, let advice, let reason):
            (detail, advice, reason)
        }
    }
}
