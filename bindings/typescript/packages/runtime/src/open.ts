/** A client with the library in this process, for Node, Electron's main process and React Native alike. */
import type * as Generated from "./generated/bowline.ts";
import { type Native, nativeBackend, translated, translatedAsync } from "./bind.ts";
import { BowlineClient } from "./client.ts";
import { BowlineError, disposed } from "./errors.ts";
import { Advice } from "./generated/enums.ts";

/** A place of the app's own for the identity of this install. Both throw when they cannot do it. */
export interface KeyStore {
  /** The value of that name, or nothing if there never was one. */
  read(name: string): Uint8Array | undefined;
  /** Keeps a value. */
  write(name: string, value: Uint8Array): void;
}

/** Settings of a client. */
export interface OpenOptions {
  /** Folder of the app's own. Made if it is not there. */
  storageFolder: string;
  /** The app's name, told to daemons. */
  appName: string;
  /** The app's version, told to daemons. */
  appVersion: string;
  /** Device name for the owner's list of devices. By default the app's name is used. */
  deviceName?: string;
  /** Keeps the identity of this install, instead of the folder. */
  keyStore?: KeyStore;
  /** Only this kind of path is used. */
  only?: Generated.Path;
  /** Certificates in PEM that are trusted for TLS besides the public ones. */
  extraRoots?: Uint8Array[];
  /** The proxy to go through, `http://…`, `https://…` or `socks5://…`. Without it HTTPS_PROXY, ALL_PROXY and NO_PROXY of the process say. */
  proxy?: string;
  /**
   * Most bytes in the folder for the rows and items that were open, of all hosts: a cold start shows them before there is a network, as
   * `Revalidating`. Encrypted under this install's identity. By default 32 MiB; 0 keeps nothing, and deletes what was kept.
   */
  cacheBytes?: number;
}

/** How much of its log the library hands out. */
export type LogLevelName = "error" | "warn" | "info" | "debug" | "trace";

/** The expected fingerprint of the native library. */
export function checkAbi(actual: string, expected: string): void {
  if (actual === expected) return;
  const detail = `the native library is another one than these bindings were made for: ${actual}, not ${expected}`;
  throw new BowlineError("LibraryMismatch", detail, Advice.Report);
}

/** A client with the library in this process. */
export class Bowline extends BowlineClient {
  readonly #native: Native;
  /** Nothing once it was closed. */
  readonly #held: { runtime: Generated.BowlineRuntimeLike | undefined };
  #closed: Promise<void> = Promise.resolve();

  /** @internal See `openBowline`. */
  constructor(native: Native, options: OpenOptions) {
    const { storageFolder, appName, appVersion, deviceName, only, extraRoots = [], proxy, cacheBytes, keyStore } = options;
    const config = { storageFolder, appName, appVersion, deviceName, only, extraRoots, proxy, cacheBytes };
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

  /** Prepares for suspension: releases files and locks. For observers. */
  pause(): Promise<void> {
    return translatedAsync(this.#native, async () => alive(this.#held).pause());
  }

  /** The app runs again. For observers. */
  resume(): Promise<void> {
    return translatedAsync(this.#native, async () => alive(this.#held).resume());
  }

  /** Ends every subscription and every connection. Intents without an outcome are kept for the next start. Any number of times. */
  close(): Promise<void> {
    const { runtime } = this.#held;
    if (runtime) {
      this.#held.runtime = undefined;
      // Before the stores say so: who hears it may call this again.
      this.#closed = this.#shutdown(runtime as Generated.BowlineRuntime);
      this.disposeStores();
    }
    return this.#closed;
  }

  async #shutdown(runtime: Generated.BowlineRuntime): Promise<void> {
    try {
      await translatedAsync(this.#native, () => runtime.shutdown());
    } finally {
      runtime.uniffiDestroy();
    }
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
  let live = true;
  const onUpdate = (batch: Generated.LogBatch) => {
    if (live) onLog(batch);
  };
  const subscription = translated(native, () => native.subscribeLogs(levels[level], { onLog: onUpdate }));
  // Its end is not waited for: that would keep the process, and a log alone is no reason for one to go on.
  logs.add(subscription);
  return () => {
    if (!live) return;
    live = false;
    logs.delete(subscription);
    (subscription as Generated.Subscription).uniffiDestroy();
  };
}

/** Holds observations whose handle was dropped, which the garbage collector would otherwise end. */
const logs = new Set<Generated.SubscriptionLike>();
