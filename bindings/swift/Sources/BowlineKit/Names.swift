// The values of the library, under the names that apps use. What is not named here is not for apps.

import BowlineFFI

/// Recommended action of an app after an error.
public typealias Advice = BowlineFFI.Advice
/// Status of an agent.
public typealias AgentStatus = BowlineFFI.AgentStatus
/// An agent, as a list shows it.
public typealias AgentSummary = BowlineFFI.AgentSummary
/// What refers to a blob that another device has put: a table or a log that this device may follow.
public typealias BlobOf = BowlineFFI.BlobOf
/// Error of a call, with the recommended action.
public typealias BowlineError = BowlineFFI.BowlineError
/// State of a host, as a screen shows it.
public typealias Connectivity = BowlineFFI.Connectivity
/// Origin of an agent.
public typealias Creation = BowlineFFI.Creation
/// One row of the list of all agents: an agent, or one being created (UX-3).
public typealias DirectoryRow = BowlineFFI.DirectoryRow
/// State of one host's list of agents (DS-1).
public typealias DirectoryState = BowlineFFI.DirectoryState
/// Reason why a subscription ended.
public typealias EndReason = BowlineFFI.EndReason
/// The one error that a screen shows (UX-4).
public typealias ErrorIndicator = BowlineFFI.ErrorIndicator
/// Why a host is not online, with the recommended action.
public typealias ErrorInfo = BowlineFFI.ErrorInfo
/// An agent whose creation failed, with the reason.
public typealias FailedAgent = BowlineFFI.FailedAgent
/// A message whose delivery failed, with the reason.
public typealias FailedMessage = BowlineFFI.FailedMessage
/// What this device may do with a daemon.
public typealias Grant = BowlineFFI.Grant
/// State of one host's part of the list of all agents.
public typealias HostDirectory = BowlineFFI.HostDirectory
/// A paired host.
public typealias HostInfo = BowlineFFI.HostInfo
/// The state of one host.
public typealias HostSnapshot = BowlineFFI.HostSnapshot
/// State of the connection to a host (INV-6).
public typealias HostState = BowlineFFI.HostState
/// The state of all hosts at one revision.
public typealias HostsSnapshot = BowlineFFI.HostsSnapshot
/// A request of a user to be executed exactly once on a host.
public typealias Intent = BowlineFFI.Intent
/// Reason why an intent failed.
public typealias IntentFailure = BowlineFFI.IntentFailure
/// Outcome of an intent.
public typealias IntentOutcome = BowlineFFI.IntentOutcome
/// Kind of a timeline item.
public typealias ItemKind = BowlineFFI.ItemKind
/// A store for the identity of an install: a keychain.
public typealias KeyStore = BowlineFFI.KeyStore
/// Error of a key store.
public typealias KeyStoreError = BowlineFFI.KeyStoreError
/// Reason of a failed load.
public typealias LoadFailure = BowlineFFI.LoadFailure
/// Level of the log.
public typealias LogLevel = BowlineFFI.LogLevel
/// One line of the log.
public typealias LogRecord = BowlineFFI.LogRecord
/// Lines of the log, and the number dropped before them.
public typealias LogBatch = BowlineFFI.LogBatch
/// Rows after the last one of a table, or items before the first one of a log.
public typealias MoreRows = BowlineFFI.MoreRows
/// Content after the last item of a timeline.
public typealias Newer = BowlineFFI.Newer
/// An address of an offer, and from where it can be reached.
public typealias OfferAddress = BowlineFFI.OfferAddress
/// An offer's daemon among the known hosts.
public typealias OfferHost = BowlineFFI.OfferHost
/// The content of a pairing offer, for a person to confirm.
public typealias OfferInfo = BowlineFFI.OfferInfo
/// Content before the first item of a timeline.
public typealias Older = BowlineFFI.Older
/// Kind of an intent's outcome.
public typealias OutcomeKind = BowlineFFI.OutcomeKind
/// Stream of a program's output.
public typealias OutputStream = BowlineFFI.OutputStream
/// Kind of a path to a host. Not `Path`, which is a type of SwiftUI.
public typealias HostPath = BowlineFFI.Path
/// A pairing in progress, with the code that the daemon's owner compares.
public typealias Pairing = BowlineFFI.Pairing
/// An agent being created (UX-3).
public typealias PendingAgent = BowlineFFI.PendingAgent
/// A message being sent (UX-3).
public typealias PendingMessage = BowlineFFI.PendingMessage
/// A platform event.
public typealias PlatformEvent = BowlineFFI.PlatformEvent
/// State of one path of a host.
public typealias Probe = BowlineFFI.Probe
/// A provider: a way to run agents.
public typealias ProviderInfo = BowlineFFI.ProviderInfo
/// From where an address can be reached, judged by its text.
public typealias Reach = BowlineFFI.Reach
/// A machine-readable reason of a lost or refused connection.
public typealias Reason = BowlineFFI.Reason
/// Why an agent takes no more prompts.
public typealias ReadOnly = BowlineFFI.ReadOnly
/// Why a daemon refused a request.
public typealias Refusal = BowlineFFI.Refusal
/// Artificial hosts, tables, logs and an artificial agent, for previews and tests.
public typealias PreviewData = BowlineFFI.PreviewData
/// A row of an artificial table.
public typealias PreviewRow = BowlineFFI.PreviewRow
/// What an artificial agent's screen is in the middle of.
public typealias PreviewScreen = BowlineFFI.PreviewScreen
/// Why an intent that concerned a row of a table failed.
public typealias RowFailure = BowlineFFI.RowFailure
/// Settings of a ``Bowline``: its storage folder and the app.
public typealias RuntimeConfig = BowlineFFI.RuntimeConfig
/// A device that has paired with a daemon.
public typealias PairedDevice = BowlineFFI.PairedDevice
/// The role of a device; each includes the ones before it.
public typealias Role = BowlineFFI.Role
/// Target of a screen: an agent, or one being created.
public typealias ScreenTarget = BowlineFFI.ScreenTarget
/// Storage fault of a host.
public typealias StorageInfo = BowlineFFI.StorageInfo
/// Kind of a host's storage fault.
public typealias StorageTrouble = BowlineFFI.StorageTrouble
/// What an app shows of a table, besides its rows.
public typealias TableState = BowlineFFI.TableState
/// One item of a timeline.
public typealias TimelineItem = BowlineFFI.TimelineItem
/// The one toast that a screen shows (UX-2).
public typealias Toast = BowlineFFI.Toast
/// What an app shows of a topic, besides its events.
public typealias TopicState = BowlineFFI.TopicState
/// Progress of a blob.
public typealias TransferProgress = BowlineFFI.TransferProgress
/// How far a blob is.
public typealias TransferState = BowlineFFI.TransferState
/// How a turn ended.
public typealias TurnStatus = BowlineFFI.TurnStatus

extension HostsSnapshot {
    /// Whether the first update has arrived, which takes milliseconds and no network.
    public var isReady: Bool { rev != 0 }
}

extension HostSnapshot: Identifiable {
    /// The daemon's stable identity.
    public var id: String { serverId }
}

extension DirectoryRow: Identifiable {
    /// Permanent key of the row.
    public var id: String { key }
}

extension TimelineItem: Identifiable {}

extension AgentSummary: Identifiable {}

extension PendingMessage: Identifiable {
    /// The intent that sends it.
    public var id: String { intentId }
}

extension FailedMessage: Identifiable {
    /// The intent of the message.
    public var id: String { intentId }
}
