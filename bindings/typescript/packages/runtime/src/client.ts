/**
 * The app's client, for a library in the same process or behind a bridge. It contains no native
 * code.
 */
import type { HostInfo, IntentOutcome, Probe, ProviderInfo } from "./generated/bowline.ts";
import type {
  DirectoryUpdate,
  HostsSnapshot,
  LogUpdate,
  OfferInfo,
  ScreenUpdate,
  TableUpdate,
  TopicUpdate,
} from "./shapes.ts";
import {
  type BlobFile,
  type BlobUpdate,
  type BlobWork,
  type GetBlobOptions,
  type PutBlobOptions,
  type StoredBlob,
  transferred,
} from "./blobs.ts";
import { disposed } from "./errors.ts";
import { type Patch, patchesOf, type Show } from "./patches.ts";
import { createStore, type OwnedStore, type Source, type Store } from "./store.ts";
import { type Topic, TopicEnds, topicOf } from "./topic.ts";
import {
  type DirectoryView,
  type HostsView,
  type LogView,
  NO_DIRECTORY,
  NO_HOSTS,
  NO_LOG,
  NO_TABLE,
  type ScreenView,
  type TableView,
  nextDirectory,
  nextHosts,
  nextLog,
  nextScreen,
  nextTable,
  noScreen,
} from "./views.ts";

/** Something to be done, once. */
export type Intent =
  | { kind: "createAgent"; provider: string; cwd: string; title?: string; prompt?: string }
  | { kind: "sendPrompt"; agentId: string; text: string }
  | { kind: "cancel"; agentId: string }
  | { kind: "archive"; agentId: string }
  | { kind: "respond"; agentId: string; permissionId: string; optionId: string }
  | { kind: "custom"; method: string; params: Record<string, unknown> };

/** Target of a screen: an agent, or the one that an intent creates. */
export type Target = { agentId: string } | { intentId: string };

/** Platform events; for observers, not for views. */
export type PlatformSignal = "foreground" | "background" | "networkChanged";

/** Calls of the library that are done by it, wherever it is. */
export interface Calls {
  inspectOffer(offer: string): Promise<OfferInfo>;
  pair(offer: string): Promise<HostInfo>;
  forgetHost(serverId: string): Promise<boolean>;
  send(serverId: string, intent: Intent, patches: readonly Patch[]): Promise<string>;
  outcome(serverId: string, intentId: string): Promise<IntentOutcome | undefined>;
  providers(serverId: string): Promise<ProviderInfo[]>;
  query(serverId: string, method: string, params: object): Promise<unknown>;
  loadMoreRows(serverId: string, name: string, params: object): Promise<void>;
  refreshTable(serverId: string, name: string, params: object): Promise<void>;
  loadOlderItems(serverId: string, name: string, params: object): Promise<void>;
  refreshLog(serverId: string, name: string, params: object): Promise<void>;
  loadOlder(serverId: string, agentId: string): Promise<void>;
  loadNewer(serverId: string, agentId: string): Promise<void>;
  intentResult(serverId: string, intentId: string): Promise<unknown>;
  jumpToNewest(serverId: string, agentId: string): Promise<void>;
  reload(serverId: string, agentId: string): Promise<void>;
  dismiss(serverId: string, intentId: string): Promise<void>;
  refresh(): Promise<void>;
  selectPath(serverId: string, path: Probe | undefined): Promise<void>;
  signal(signal: PlatformSignal): Promise<void>;
}

/** The library, wherever it is. */
export interface Backend extends Calls {
  hosts: Source<HostsSnapshot>;
  directory: Source<DirectoryUpdate>;
  screen(serverId: string, target: Target): Source<ScreenUpdate>;
  table(serverId: string, name: string, params: object): Source<TableUpdate>;
  log(serverId: string, name: string, params: object): Source<LogUpdate>;
  topic(serverId: string, name: string, params: object): Source<TopicUpdate>;
  blob(serverId: string, work: BlobWork): Source<BlobUpdate>;
}

/** Names a target in the map of open screens. */
export function targetKey(serverId: string, target: Target): string {
  return "agentId" in target ? `${serverId} agent ${target.agentId}` : `${serverId} intent ${target.intentId}`;
}

/** @internal The backend of a client: for the rest of this package, not for views. */
export let backendOf: (client: BowlineClient) => Backend;

/** @internal Tells the library what the platform has to say. For observers, and not for views (INV-7). */
export function tell(client: BowlineClient, signal: PlatformSignal): void {
  // Reports an event without waiting; errors after the end are ignored.
  void backendOf(client)
    .signal(signal)
    .catch(() => {});
}

/** Stores and intents. There is no connect and no disconnect: the library sees to that (INV-7). */
export class BowlineClient {
  /** All hosts, their connections and errors. */
  readonly hosts: Store<HostsView>;
  /** The agents of all hosts in one list. */
  readonly directory: Store<DirectoryView>;

  readonly #backend: Backend;
  /**
   * Stores of all screens, tables and logs with a reference or a subscriber. One only read once, as on a server, is
   * dropped.
   */
  readonly #open = new Map<string, WeakRef<OwnedStore<unknown>>>();
  readonly #own: readonly OwnedStore<unknown>[];
  readonly #topics = new TopicEnds();
  #disposed = false;

  static {
    backendOf = (client) => client.#backend;
  }

  constructor(backend: Backend) {
    this.#backend = backend;
    const hosts = createStore({ initial: NO_HOSTS, source: backend.hosts, next: nextHosts });
    const directory = createStore({ initial: NO_DIRECTORY, source: backend.directory, next: nextDirectory });
    this.hosts = hosts;
    this.directory = directory;
    this.#own = [hosts, directory];
  }

  /**
   * One agent's screen, its timeline included. The same store for the same target, while it has a
   * reference or a subscriber.
   */
  screen(serverId: string, target: Target): Store<ScreenView> {
    return this.#shared(targetKey(serverId, target), () =>
      createStore<ScreenView, ScreenUpdate>({
        initial: noScreen(serverId, target),
        source: this.#backend.screen(serverId, target),
        next: nextScreen,
      }),
    );
  }

  /**
   * Rows of a service's table: the first ones, then every change (LD-2). `params` says which rows, as the service defines. The same
   * store for the same parameters, while it has a reference or a subscriber. The values' type is the caller's word: it is not checked.
   */
  table<Value>(serverId: string, name: string, params: object = {}): Store<TableView<Value>> {
    return this.#shared(`${serverId} table ${name} ${JSON.stringify(params)}`, () =>
      createStore<TableView<Value>, TableUpdate>({
        initial: NO_TABLE,
        source: this.#backend.table(serverId, name, params),
        next: nextTable,
      }),
    );
  }

  /**
   * The newest items of a service's log, then every new one and every growth of their text (LD-2). `params` says which log, as the
   * service defines. The same store for the same parameters, while it has a reference or a subscriber; `valuesOf` makes a loop of it.
   * The values' type is the caller's word: it is not checked.
   */
  log<Value>(serverId: string, name: string, params: object = {}): Store<LogView<Value>> {
    return this.#shared(`${serverId} log ${name} ${JSON.stringify(params)}`, () =>
      createStore<LogView<Value>, LogUpdate>({
        initial: NO_LOG,
        source: this.#backend.log(serverId, name, params),
        next: nextLog,
      }),
    );
  }

  /**
   * Events of a service's topic: every one from now on, once and in order (LD-10). `params` says which, as the service defines.
   * Iterate over its batches with `for await`, or `subscribe` to them; what is done at the same time shares one follow. The bodies'
   * type is the caller's word: it is not checked.
   */
  topic<Body>(serverId: string, name: string, params: object = {}): Topic<Body> {
    return topicOf<Body>(this.#backend.topic(serverId, name, params), this.#topics);
  }

  /** The store of that key, made if it is not open. */
  #shared<T>(key: string, make: () => OwnedStore<T>): Store<T> {
    const open = this.#open.get(key)?.deref();
    if (open) return open as OwnedStore<T>;
    for (const [key, store] of this.#open) if (!store.deref()) this.#open.delete(key);
    const store = make();
    if (this.#disposed) store.dispose();
    else this.#open.set(key, new WeakRef<OwnedStore<unknown>>(store));
    return store;
  }

  /**
   * The content of an offer, for a person to confirm before `pair`. Contacts nobody. Fails with
   * `InvalidOffer` if the text is no offer, or was tampered with.
   */
  inspectOffer(offer: string): Promise<OfferInfo> {
    return this.#call((backend) => backend.inspectOffer(offer));
  }

  /** Pairs with the daemon of an offer, which a person has confirmed; done when the daemon has proved its identity and taken this device. */
  pair(offer: string): Promise<HostInfo> {
    return this.#call((backend) => backend.pair(offer));
  }

  /** Forgets a host. True if it was known. */
  forgetHost(serverId: string): Promise<boolean> {
    return this.#call((backend) => backend.forgetHost(serverId));
  }

  /**
   * Sends an intent and returns its id. It is executed exactly once (BX-1); {@link outcome} and the stores report its outcome.
   *
   * `say` tells what it is expected to change: rows of followed tables show it at once, `pending`, also after a restart of the app,
   * until the daemon's change replaces it; a refused one leaves a `failure` at the row until `dismiss` (LD-3). At most 64 changes
   * with 64 KiB; more fails with `InvalidIntent`.
   */
  send(serverId: string, intent: Intent, say?: (show: Show) => unknown): Promise<string> {
    return this.#call((backend) => backend.send(serverId, intent, patchesOf(say)));
  }

  /**
   * Waits for the outcome of an intent, across disconnects, also of one that an earlier process of the app has sent. Nothing if it is
   * not known: it is neither pending, nor among the latest 64 of the host, nor a failure that is shown.
   */
  outcome(serverId: string, intentId: string): Promise<IntentOutcome | undefined> {
    return this.#call((backend) => backend.outcome(serverId, intentId));
  }

  /**
   * The whole result of an intent that was done, however long: an outcome's own is left out beyond 4 KiB. Nothing if it is not among
   * the latest 64 of the host, or had none.
   */
  intentResult(serverId: string, intentId: string): Promise<unknown> {
    return this.#call((backend) => backend.intentResult(serverId, intentId));
  }

  /** The providers of a host. */
  providers(serverId: string): Promise<ProviderInfo[]> {
    return this.#call((backend) => backend.providers(serverId));
  }

  /**
   * Asks a read-only method of the daemon, or of a service linked into it. While the host connects, the query waits for up to 15 s;
   * with the answer, it takes 30 s at most. It is sent once and not repeated; changes are for `send`. The result's type is the
   * caller's word: it is not checked.
   */
  query<Result>(serverId: string, method: string, params: object = {}): Promise<Result> {
    return this.#call((backend) => backend.query(serverId, method, params)) as Promise<Result>;
  }

  /** Loads the page after the last row of a table that is subscribed to. */
  loadMoreRows(serverId: string, name: string, params: object = {}): Promise<void> {
    return this.#call((backend) => backend.loadMoreRows(serverId, name, params));
  }

  /** Loads the rows of a table again that is subscribed to, also after a refusal. */
  refreshTable(serverId: string, name: string, params: object = {}): Promise<void> {
    return this.#call((backend) => backend.refreshTable(serverId, name, params));
  }

  /** Loads the page before the oldest item of a log that is subscribed to. */
  loadOlderItems(serverId: string, name: string, params: object = {}): Promise<void> {
    return this.#call((backend) => backend.loadOlderItems(serverId, name, params));
  }

  /** Loads the items of a log again that is subscribed to, also after a refusal. */
  refreshLog(serverId: string, name: string, params: object = {}): Promise<void> {
    return this.#call((backend) => backend.refreshLog(serverId, name, params));
  }

  /** Fetches the page before the oldest item of an open timeline. */
  loadOlder(serverId: string, agentId: string): Promise<void> {
    return this.#call((backend) => backend.loadOlder(serverId, agentId));
  }

  /** Loads the page after the last item of an open timeline, unless that is the newest. */
  loadNewer(serverId: string, agentId: string): Promise<void> {
    return this.#call((backend) => backend.loadNewer(serverId, agentId));
  }

  /** Moves the view of an open timeline to its newest items. */
  jumpToNewest(serverId: string, agentId: string): Promise<void> {
    return this.#call((backend) => backend.jumpToNewest(serverId, agentId));
  }

  /** Retries a failed load of an open timeline at once. */
  reload(serverId: string, agentId: string): Promise<void> {
    return this.#call((backend) => backend.reload(serverId, agentId));
  }

  /** The user has seen that a message, a creation or a change of rows failed. */
  dismiss(serverId: string, intentId: string): Promise<void> {
    return this.#call((backend) => backend.dismiss(serverId, intentId));
  }

  /**
   * Puts a blob and resolves with its name, the SHA-256 of its bytes, once the daemon has verified and stored it; then an intent may
   * name it. It goes on after lost connections, waits while there is none, and continues where an earlier call stopped, also one of
   * an earlier process. A file must not change meanwhile. At most 64 blobs of a host are on their way; more fail with `TooMany`.
   */
  async putBlob(serverId: string, source: Uint8Array | BlobFile, options: PutBlobOptions = {}): Promise<string> {
    return (await this.#blob(serverId, { do: "put", source }, options)).hash;
  }

  /** Gets a blob of at most 64 MiB and verifies it; a larger one fails with `TooLarge`. Otherwise as {@link putBlob}. */
  async getBlob(serverId: string, hash: string, options: GetBlobOptions = {}): Promise<Uint8Array> {
    return (await this.#blob(serverId, { do: "get", hash, of: options.of, sink: undefined }, options)).bytes!;
  }

  /**
   * Gets a blob into a file, which appears, or is replaced, once it is whole. Until then its bytes are in a file beside it whose name
   * ends with `.part`, from which another call goes on, also after a restart of the app. Not over a bridge.
   */
  async getBlobFile(serverId: string, hash: string, file: string, options: GetBlobOptions = {}): Promise<void> {
    await this.#blob(serverId, { do: "get", hash, of: options.of, sink: { file } }, options);
  }

  #blob(serverId: string, work: BlobWork, options: PutBlobOptions): Promise<StoredBlob> {
    return this.#call((backend) => transferred(backend.blob(serverId, work), options));
  }

  /** Fetches the lists of all hosts again. */
  refresh(): Promise<void> {
    return this.#call((backend) => backend.refresh());
  }

  /** The user wants that path of a host, one of its probes; or the best one. */
  selectPath(serverId: string, path?: Probe): Promise<void> {
    return this.#call((backend) => backend.selectPath(serverId, path));
  }

  /** Ends every subscription. */
  protected disposeStores(): void {
    this.#disposed = true;
    for (const store of this.#own) store.dispose();
    this.#topics.dispose();
    for (const store of this.#open.values()) store.deref()?.dispose();
    this.#open.clear();
  }

  async #call<T>(call: (backend: Backend) => Promise<T>): Promise<T> {
    if (this.#disposed) throw disposed();
    return call(this.#backend);
  }
}
