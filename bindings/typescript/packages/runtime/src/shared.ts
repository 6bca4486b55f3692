/** What every entry of this package exports, wherever the library is. */
export { BowlineClient, type Intent, type Target } from "./client.ts";
export { type AdviceName, asBowlineError, BowlineError, type ErrorKind } from "./errors.ts";
export { ItemList } from "./list.ts";
export type { Port } from "./ports.ts";
export { type Kept, type Store, waitFor } from "./store.ts";
export type { DirectoryView, HostsView, ScreenView, TimelineView } from "./views.ts";
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
  Newer_Tags as NewerTag,
  Older_Tags as OlderTag,
  OutcomeKind,
  OutputStream,
  Path,
  ReadOnly,
  Reason,
  Refusal,
  StorageTrouble,
  Toast,
  TurnStatus,
} from "./generated/enums.ts";
export type {
  AgentSummary,
  DirectoryRow,
  ErrorIndicator,
  ErrorInfo,
  FailedAgent,
  FailedMessage,
  HostDirectory,
  HostInfo,
  HostSnapshot,
  IntentFailure,
  IntentOutcome,
  LoadFailure,
  Newer,
  Older,
  PendingAgent,
  PendingMessage,
  Probe,
  ProviderInfo,
  StorageInfo,
  TimelineItem,
} from "./generated/bowline.ts";
