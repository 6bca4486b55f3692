/**
 * Bowline for Node and Electron's main process.
 *
 * ```ts
 * const bowline = openBowline({ storageFolder, appName: "my app", appVersion: "1.0" });
 * bowline.hosts.subscribe(() => console.log(bowline.hosts.getSnapshot().hosts));
 * ```
 *
 * @packageDocumentation
 */
import * as generated from "./generated/bowline.js";
import { EXPECTED_ABI_ID } from "./generated/abi.js";
import { BowlineClient } from "./client.js";
import { BowlineError } from "./errors.js";
import { Bowline, checkAbi, type LogLevelName, type OpenOptions, subscribeLogs as subscribe } from "./open.js";
import { type Port, serve } from "./bridge.js";

export { BowlineClient, type Intent, type PlatformSignal, type Target } from "./client.js";
export { type AdviceName, BowlineError, type ErrorKind } from "./errors.js";
export { ItemList } from "./list.js";
export { observeElectron, observeReactNative, observeWindow } from "./observers.js";
export { Bowline, type KeyStore, type LogLevelName, type OpenOptions } from "./open.js";
export type { Port } from "./bridge.js";
export { type Store, waitFor } from "./store.js";
export type { DirectoryView, HostsView, ScreenView, TimelineView } from "./views.js";
export {
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
  Rehearsal,
  Toast,
  TurnStatus,
} from "./generated/bowline.js";
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
  IntentOutcome,
  LoadFailure,
  LogBatch,
  LogRecord,
  Older,
  PendingAgent,
  PendingMessage,
  Probe,
  ProviderInfo,
  TimelineItem,
} from "./generated/bowline.js";

let loaded = false;

/** Loads the native library, if it is not loaded yet, and makes sure that it is the one these bindings were made for. */
export function loadLibrary(): void {
  if (loaded) return;
  try {
    generated.default.initialize();
  } catch (cause) {
    if (cause instanceof BowlineError) throw cause;
    const detail = `the native library is another one than these bindings were made for: ${String(cause)}`;
    throw new BowlineError("LibraryMismatch", detail, "Report", undefined, { cause });
  }
  checkAbi(generated.abiId(), EXPECTED_ABI_ID);
  loaded = true;
}

/** Opens a client. An app has one. Throws a {@link BowlineError} when the storage cannot be used or the identity is lost. */
export function openBowline(options: OpenOptions): Bowline {
  loadLibrary();
  return new Bowline(generated, options);
}

/** Hands the library's log to a function, in batches, until the function that is returned is called. */
export function subscribeLogs(level: LogLevelName, onLog: (batch: generated.LogBatch) => void): () => void {
  loadLibrary();
  return subscribe(generated, level, onLog);
}

/** Serves a port to a process that cannot load the library; `connectBridge` is its other side. */
export function serveBridge(client: BowlineClient, port: Port): () => void {
  return serve(BowlineClient.backendOf(client), port);
}
