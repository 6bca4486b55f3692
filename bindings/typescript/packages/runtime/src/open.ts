/** A client with the library in this process, for Node, Electron's main process and React Native alike. */
import type * as Generated from "./generated/bowline.ts";
import { type Native, nativeBackend, sourceOf, translated, translatedAsync } from "./bind.ts";
import { BowlineClient } from "./client.ts";
import { BowlineError, disposed } from "./errors.ts";

/** A place of the app's own for the identity of this install. Both throw when they cannot do it. */
export interface KeyStore {
  /** The value of that name, or nothing if there never was one. */
  read(name: string): Uint8Array | undefined;
  /** Keeps a value. */
  write(name: string, value: Uint8Array): void;
}

/** What a client is opened with. */
export interface OpenOptions {
  /** Folder of the app's own. Made if it is not there. */
  storageFolder: string;
  /** The app's name, told to daemons. */
  appName: string;
  /** The app's version, told to daemons. */
  appVersion: string;
  /** Keeps the identity of this install, instead of the folder. */
  keyStore?: KeyStore;
  /** Only this kind of path is used. */
  only?: Generated.Path;
  /** Certificates in PEM that are trusted for TLS besides the public ones. */
  extraRoots?: Uint8Array[];
}

/** How much of its log the library hands out. */
export type LogLevelName = "error" | "warn" | "info" | "debug" | "trace";

/** What the native library must say it is. */
export function checkAbi(actual: string, expected: string): void {
  if (actual === expected) return;
  const detail = `the native library is another one than these bindings were made for: ${actual}, not ${expected}`;
  throw new BowlineError("LibraryMismatch", detail, "Report");
}

/** A client with the library in this process. */
export class Bowline extends BowlineClient {
  readonly #native: Native;
  /** Nothing once it was closed. */
  readonly #held: { runtime: Generated.BowlineRuntimeLike | undefined };
  #closed: Promise<void> | undefined;

  /** @internal See `openBowline`. */
  constructor(native: Native, options: OpenOptions) {
    const { storageFolder, appName, appVersion, only, extraRoots = [], keyStore } = options;
    const config = { storageFolder, appName, appVersion, only, extraRoots };
    const held: { runtime: Generated.BowlineRuntimeLike | undefined } = {
      runtime: translated(native, () =>
        keyStore
          ? native.BowlineRuntime.withKeyStore(config, keyStore as Generated.KeyStore)
          : new native.BowlineRuntime(config),
      ),
    };
    super(nativeBackend(native, () => alive(held)));
    this.#native = native;
    this.#held = held;
  }

  /** The app is about to be suspended: files and locks are let go of. For observers. */
  pause(): Promise<void> {
    return translatedAsync(this.#native, async () => alive(this.#held).pause());
  }

  /** The app runs again. For observers. */
  resume(): Promise<void> {
    return translatedAsync(this.#native, async () => alive(this.#held).resume());
  }

  /** Ends every subscription and every connection. Intents without an outcome are kept for the next start. Any number of times. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const runtime = alive(this.#held);
    this.#held.runtime = undefined;
    this.disposeStores();
    await translatedAsync(this.#native, () => runtime.shutdown());
    (runtime as Generated.BowlineRuntime).uniffiDestroy();
  }

  /** Ends it at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function alive<T>({ runtime }: { runtime: T | undefined }): T {
  if (runtime === undefined) throw disposed();
  return runtime;
}

/** Hands the library's log to a function, in batches, until the function that is returned is called. */
export function subscribeLogs(
  native: Native,
  level: LogLevelName,
  onLog: (batch: Generated.LogBatch) => void,
): () => void {
  const { LogLevel } = native;
  const levels = {
    error: LogLevel.Error,
    warn: LogLevel.Warn,
    info: LogLevel.Info,
    debug: LogLevel.Debug,
    trace: LogLevel.Trace,
  };
  // A log alone is no reason for a process to go on.
  const source = sourceOf<Generated.LogBatch>(native, (onLog) => native.subscribeLogs(levels[level], { onLog }), false);
  return source(onLog, () => {});
}
