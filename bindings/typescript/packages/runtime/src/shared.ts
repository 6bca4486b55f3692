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
  HostState,
  ItemKind,
  LogLevel,
  OutcomeKind,
  OutputStream,
  Path,
  PreviewScreen,
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
  ErrorInfo,
  Grant,
  PairedDevice,
  HostInfo,
  IntentOutcome,
  OfferAddress,
  Pairing,
  PendingAgent,
  PendingMessage,
  Probe,
  ProviderInfo,
  StorageInfo,
  TimelineItem,
} from "./generated/bowline.ts";
export type {
  DirectoryRow,
  ErrorIndicator,
  FailedAgent,
  FailedMessage,
  HostDirectory,
  HostSnapshot,
  IntentFailure,
  LoadFailure,
  MoreRows,
  Newer,
  OfferHost,
  OfferInfo,
  Older,
  RowFailure,
} from "./shapes.ts";
