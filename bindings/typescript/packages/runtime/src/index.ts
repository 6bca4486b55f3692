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
import { threadId } from "node:worker_threads";
import * as generated from "./generated/bowline.ts";
import { EXPECTED_ABI_ID } from "./generated/abi.ts";
import { Advice, type TableState } from "./generated/enums.ts";
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
    // Each thread registers functions of its own with the library, which replace those of the thread before.
    if (!generated.claimListeners(threadId)) {
      throw new BowlineError("OtherThread", "another thread of this process uses Bowline: open it there, or in a process of its own", Advice.Report);
    }
    process.once("exit", () => generated.releaseListeners(threadId));
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

/** A row of an artificial table. */
export interface PreviewRow {
  readonly key: string;
  readonly value: unknown;
  /** Whether the value is what an intent of this app is expected to make of it (LD-3). */
  readonly pending?: boolean;
  /** Why the daemon refused the newest intent that concerned it, if it did. */
  readonly refused?: string;
}

/** Artificial hosts, tables, logs and an artificial agent that a preview or a test controls. */
export class PreviewData extends generated.PreviewData {
  /** So many hosts, all online, and a timeline of so many items. */
  constructor(hosts: number, items: number) {
    loadLibrary();
    super(hosts, items);
  }

  /** Shows these rows of a table, whatever its parameters, in place of those before. */
  show(table: string, rows: readonly PreviewRow[], state?: TableState): void {
    this.showTable(table, rows.map(crossed), state);
  }

  /** Changes the row of that key in a table, or adds it; all others stay. */
  change(table: string, row: PreviewRow): void {
    this.changeRow(table, crossed(row));
  }

  /** Shows these items of a log, oldest first, in place of those before. */
  showItems(log: string, values: readonly unknown[], state?: TableState): void {
    this.showLog(log, values.map((value) => JSON.stringify(value)), state);
  }
}

function crossed({ key, value, pending = false, refused }: PreviewRow): generated.PreviewRow {
  return { key, json: JSON.stringify(value), pending, refused };
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
