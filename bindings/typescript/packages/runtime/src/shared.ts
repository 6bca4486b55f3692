/** Exports common to every entry of this package. */
export type { BlobFile, BlobOf, BlobProgress, GetBlobOptions, PutBlobOptions } from "./blobs.ts";
export { BowlineClient, type Intent, type Target } from "./client.ts";
export { ADVICE_TEXTS, asBowlineError, BowlineError, type ErrorKind } from "./errors.ts";
export { ItemList } from "./list.ts";
export type { Show } from "./patches.ts";
export type { Port } from "./ports.ts";
export { type Kept, type Store, valuesOf, waitFor } from "./store.ts";
export type { Topic, TopicBatch, TopicEvent } from "./topic.ts";
export { rowOf, sameFrame } from "./views.ts";
export type { DirectoryView, HostsView, LogItem, LogView, ScreenFrame, ScreenView, TableRow, TableView, TimelineView } from "./views.ts";
export {
  Advice,
  AgentStatus,
  Connectivity,
  Creation,
  DirectoryState,
  ErrorIndicator_Tags as ErrorIndicatorTag,
  HostState,
  IntentFailure_Tags as IntentFailureTag,
  ItemKind,
  LoadFailure_Tags as LoadFailureTag,
  LogLevel,
  MoreRows_Tags as MoreRowsTag,
  Newer_Tags as NewerTag,
  OfferHost_Tags as OfferHostTag,
  Older_Tags as OlderTag,
  OutcomeKind,
  OutputStream,
  Path,
  Reach,
  ReadOnly,
  Reason,
  Refusal,
  Role,
  StorageTrouble,
  TableState,
  Toast,
  TopicState,
  TransferState,
  TurnStatus,
} from "./generated/enums.ts";
export type {
  AgentSummary,
  DirectoryRow,
  ErrorIndicator,
  ErrorInfo,
  FailedAgent,
  FailedMessage,
  Grant,
  PairedDevice,
  HostDirectory,
  HostInfo,
  HostSnapshot,
  IntentFailure,
  IntentOutcome,
  LoadFailure,
  MoreRows,
  Newer,
  OfferAddress,
  OfferHost,
  OfferInfo,
  Older,
  Pairing,
  PendingAgent,
  PendingMessage,
  Probe,
  ProviderInfo,
  RowFailure,
  StorageInfo,
  TimelineItem,
} from "./generated/bowline.ts";
