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
import * as generated from "./generated/bowline.ts";
import { EXPECTED_ABI_ID } from "./generated/abi.ts";
import { Advice } from "./generated/enums.ts";
import { backendOf, type BowlineClient } from "./client.ts";
import { BowlineError } from "./errors.ts";
import { Bowline, checkAbi, type LogLevelName, type OpenOptions, subscribeLogs as subscribe } from "./open.ts";
import { type Port, serve } from "./ports.ts";
import { previewClient } from "./preview.ts";

export { observeElectron } from "./observers.ts";
export { Bowline, type KeyStore, type LogLevelName, type OpenOptions } from "./open.ts";
export * from "./shared.ts";
export type { LogBatch, LogRecord } from "./generated/bowline.ts";

let loaded = false;

/** Loads the native library, if it is not loaded yet, and makes sure that it is the one these bindings were made for. */
export function loadLibrary(): void {
  if (loaded) return;
  try {
    generated.default.initialize();
  } catch (cause) {
    if (cause instanceof BowlineError) throw cause;
    const detail = `the native library is another one than these bindings were made for: ${String(cause)}`;
    throw new BowlineError("LibraryMismatch", detail, Advice.Report, undefined, { cause });
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

/** Artificial hosts and an artificial timeline that a preview or a test controls. */
export class PreviewData extends generated.PreviewData {
  /** So many hosts, all online, and a timeline of so many items. */
  constructor(hosts: number, items: number) {
    loadLibrary();
    super(hosts, items);
  }
}

/** A client that shows what a preview does. */
export function preview(preview: PreviewData): BowlineClient {
  loadLibrary();
  return previewClient(generated, preview);
}

/** Serves a port to a process that cannot load the library; `connectBridge` is its other side. */
export function serveBridge(client: BowlineClient, port: Port): () => void {
  return serve(backendOf(client), port);
}
