import BowlineFFI
import Foundation

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
            .Cancelled(let detail, let advice, let reason), .TooLarge(let detail, let advice, let reason),
            .CorruptBlob(let detail, let advice, let reason),
            .NotConnected(let detail, let advice, let reason), .Paused(let detail, let advice, let reason),
            .Closed(let detail, let advice, let reason), .Broken(let detail, let advice, let reason),
            .Internal(let detail, let advice, let reason):
            (detail, advice, reason)
        }
    }
}

extension Advice {
    /// What an app may show for this advice, as a whole sentence to the user; empty where the user has nothing to do.
    ///
    /// English, unless the app's `Localizable` strings have an entry for ``localizationKey``.
    public var text: String {
        let english = adviceText(advice: self)
        // An empty text would be replaced by the key.
        return english.isEmpty ? "" : Bundle.main.localizedString(forKey: localizationKey, value: english, table: nil)
    }

    /// The key of its text: `bowline.advice.` and the name of the case, for example `bowline.advice.pairAgain`.
    public var localizationKey: String {
        switch self {
        case .wait: "bowline.advice.wait"
        case .pairAgain: "bowline.advice.pairAgain"
        case .update: "bowline.advice.update"
        case .report: "bowline.advice.report"
        case .nothing: "bowline.advice.nothing"
        case .checkStorage: "bowline.advice.checkStorage"
        case .tryAgain: "bowline.advice.tryAgain"
        case .askUser: "bowline.advice.askUser"
        }
    }
}

extension BowlineError: LocalizedError {
    /// Text for people: what failed.
    public var errorDescription: String? { detail }
    /// What the user can do, of ``Advice/text``; none if nothing.
    public var recoverySuggestion: String? { suggestion(advice) }
}

extension SubscriptionEnded: LocalizedError {
    /// Text for people: why nothing new comes.
    public var errorDescription: String? { endText(reason: reason) }
    /// What the user can do, of ``Advice/text``; none if nothing.
    public var recoverySuggestion: String? { suggestion(advice) }
}

private func suggestion(_ advice: Advice) -> String? {
    let text = advice.text
    return text.isEmpty ? nil : text
}
