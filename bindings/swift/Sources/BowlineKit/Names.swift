// The values of the library, under the names that apps use. What is not named here is not for apps.

import BowlineFFI

/// What an app should do about an error.
public typealias Advice = BowlineFFI.Advice
/// What an agent is doing.
public typealias AgentStatus = BowlineFFI.AgentStatus
/// An agent, as a list shows it.
public typealias AgentSummary = BowlineFFI.AgentSummary
/// Why a call failed, and what to do about it.
public typealias BowlineError = BowlineFFI.BowlineError
/// How a host stands, as a screen shows it.
public typealias Connectivity = BowlineFFI.Connectivity
/// Whether an agent was created from here.
public typealias Creation = BowlineFFI.Creation
/// One row of the list of all agents: an agent, or one that is being created (UX-3).
public typealias DirectoryRow = BowlineFFI.DirectoryRow
/// How one host's list of agents stands (DS).
public typealias DirectoryState = BowlineFFI.DirectoryState
/// Why a subscription ended.
public typealias EndReason = BowlineFFI.EndReason
/// The one error that a screen shows (UX-4).
public typealias ErrorIndicator = BowlineFFI.ErrorIndicator
/// Why a host is not online, and what to do about it.
public typealias ErrorInfo = BowlineFFI.ErrorInfo
/// An agent that could not be created, with the reason.
public typealias FailedAgent = BowlineFFI.FailedAgent
/// A message that was not taken, with the reason.
public typealias FailedMessage = BowlineFFI.FailedMessage
/// How one host's part of the list of all agents stands.
public typealias HostDirectory = BowlineFFI.HostDirectory
/// A host that was paired with.
public typealias HostInfo = BowlineFFI.HostInfo
/// Everything about one host.
public typealias HostSnapshot = BowlineFFI.HostSnapshot
/// Where the connection to a host stands (INV-6).
public typealias HostState = BowlineFFI.HostState
/// Everything about all hosts, as of one revision.
public typealias HostsSnapshot = BowlineFFI.HostsSnapshot
/// What a user wants done on a host.
public typealias Intent = BowlineFFI.Intent
/// Why an intent was not done.
public typealias IntentFailure = BowlineFFI.IntentFailure
/// What became of an intent.
public typealias IntentOutcome = BowlineFFI.IntentOutcome
/// What an item of a timeline is.
public typealias ItemKind = BowlineFFI.ItemKind
/// Where an app keeps the identity of its install: a keychain.
public typealias KeyStore = BowlineFFI.KeyStore
/// What a key store throws.
public typealias KeyStoreError = BowlineFFI.KeyStoreError
/// Why something could not be loaded.
public typealias LoadFailure = BowlineFFI.LoadFailure
/// How much is logged.
public typealias LogLevel = BowlineFFI.LogLevel
/// One line of the log.
public typealias LogRecord = BowlineFFI.LogRecord
/// Lines of the log, and how many were lost before them.
public typealias LogBatch = BowlineFFI.LogBatch
/// What there is after the last item of a timeline.
public typealias Newer = BowlineFFI.Newer
/// What there is before the first item of a timeline.
public typealias Older = BowlineFFI.Older
/// How an intent ended.
public typealias OutcomeKind = BowlineFFI.OutcomeKind
/// Where a program wrote its output to.
public typealias OutputStream = BowlineFFI.OutputStream
/// The kind of way to a host. Not `Path`, which is SwiftUI's.
public typealias HostPath = BowlineFFI.Path
/// An agent that is being created (UX-3).
public typealias PendingAgent = BowlineFFI.PendingAgent
/// A message on its way (UX-3).
public typealias PendingMessage = BowlineFFI.PendingMessage
/// What a platform tells of.
public typealias PlatformEvent = BowlineFFI.PlatformEvent
/// One address of a host, and how it answers.
public typealias Probe = BowlineFFI.Probe
/// A way in which a host can run agents.
public typealias ProviderInfo = BowlineFFI.ProviderInfo
/// A machine-readable reason of a lost or refused connection.
public typealias Reason = BowlineFFI.Reason
/// Why an agent takes no more prompts.
public typealias ReadOnly = BowlineFFI.ReadOnly
/// Why a daemon refused a request.
public typealias Refusal = BowlineFFI.Refusal
/// Made-up hosts and a made-up timeline, for previews and tests.
public typealias Rehearsal = BowlineFFI.Rehearsal
/// Where a ``Bowline`` keeps its files, and whose it is.
public typealias RuntimeConfig = BowlineFFI.RuntimeConfig
/// What a screen is of: an agent, or one that is being created.
public typealias ScreenTarget = BowlineFFI.ScreenTarget
/// What is wrong with what is stored of a host.
public typealias StorageInfo = BowlineFFI.StorageInfo
/// Kinds of trouble with what is stored of a host.
public typealias StorageTrouble = BowlineFFI.StorageTrouble
/// One item of a timeline.
public typealias TimelineItem = BowlineFFI.TimelineItem
/// The one toast that a screen shows (UX-2).
public typealias Toast = BowlineFFI.Toast
/// How a turn ended.
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

extension AgentSummary: Identifiable {}

extension PendingMessage: Identifiable {
    /// The intent that sends it.
    public var id: String { intentId }
}

extension FailedMessage: Identifiable {
    /// The intent that was to send it.
    public var id: String { intentId }
}
