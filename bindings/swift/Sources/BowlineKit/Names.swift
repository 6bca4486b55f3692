// The values of the library, under the names that apps use. What is not named here is not for apps.

import BowlineFFI

public typealias Advice = BowlineFFI.Advice
public typealias AgentStatus = BowlineFFI.AgentStatus
public typealias AgentSummary = BowlineFFI.AgentSummary
public typealias BowlineError = BowlineFFI.BowlineError
public typealias Connectivity = BowlineFFI.Connectivity
public typealias Creation = BowlineFFI.Creation
public typealias DirectoryRow = BowlineFFI.DirectoryRow
public typealias DirectoryState = BowlineFFI.DirectoryState
public typealias EndReason = BowlineFFI.EndReason
public typealias ErrorIndicator = BowlineFFI.ErrorIndicator
public typealias ErrorInfo = BowlineFFI.ErrorInfo
public typealias FailedAgent = BowlineFFI.FailedAgent
public typealias FailedMessage = BowlineFFI.FailedMessage
public typealias HostDirectory = BowlineFFI.HostDirectory
public typealias HostInfo = BowlineFFI.HostInfo
public typealias HostSnapshot = BowlineFFI.HostSnapshot
public typealias HostState = BowlineFFI.HostState
public typealias HostsSnapshot = BowlineFFI.HostsSnapshot
public typealias Intent = BowlineFFI.Intent
public typealias IntentFailure = BowlineFFI.IntentFailure
public typealias IntentOutcome = BowlineFFI.IntentOutcome
public typealias ItemKind = BowlineFFI.ItemKind
public typealias KeyStore = BowlineFFI.KeyStore
public typealias KeyStoreError = BowlineFFI.KeyStoreError
public typealias LoadFailure = BowlineFFI.LoadFailure
public typealias LogLevel = BowlineFFI.LogLevel
public typealias LogRecord = BowlineFFI.LogRecord
public typealias LogBatch = BowlineFFI.LogBatch
public typealias Older = BowlineFFI.Older
public typealias OutcomeKind = BowlineFFI.OutcomeKind
public typealias OutputStream = BowlineFFI.OutputStream
public typealias Path = BowlineFFI.Path
public typealias PendingAgent = BowlineFFI.PendingAgent
public typealias PendingMessage = BowlineFFI.PendingMessage
public typealias PlatformEvent = BowlineFFI.PlatformEvent
public typealias Probe = BowlineFFI.Probe
public typealias ProviderInfo = BowlineFFI.ProviderInfo
public typealias Reason = BowlineFFI.Reason
public typealias Rehearsal = BowlineFFI.Rehearsal
public typealias RuntimeConfig = BowlineFFI.RuntimeConfig
public typealias ScreenTarget = BowlineFFI.ScreenTarget
public typealias TimelineItem = BowlineFFI.TimelineItem
public typealias Toast = BowlineFFI.Toast
public typealias TurnStatus = BowlineFFI.TurnStatus

extension HostSnapshot: Identifiable {
    /// The daemon's stable identity.
    public var id: String { serverId }
}

extension DirectoryRow: Identifiable {
    /// Names the row for ever.
    public var id: String { key }
}

extension TimelineItem: Identifiable {}

extension PendingMessage: Identifiable {
    /// The intent that sends it.
    public var id: String { intentId }
}

extension FailedMessage: Identifiable {
    /// The intent that was to send it.
    public var id: String { intentId }
}
