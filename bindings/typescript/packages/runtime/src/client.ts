/** What an app holds, whether the library is in its process or on the far side of a bridge. It knows nothing native. */
import type {
  DirectoryUpdate,
  HostInfo,
  HostsSnapshot,
  Probe,
  ProviderInfo,
  ScreenUpdate,
} from "./generated/bowline.js";
import { BowlineError } from "./errors.js";
import { createStore, type Source, type Store } from "./store.js";
import {
  type DirectoryView,
  type HostsView,
  NO_DIRECTORY,
  NO_HOSTS,
  type ScreenView,
  nextDirectory,
  nextHosts,
  nextScreen,
  noScreen,
} from "./views.js";

/** Something to be done, once. */
export type Intent =
  | { kind: "createAgent"; provider: string; cwd: string; title?: string; prompt?: string }
  | { kind: "sendPrompt"; agentId: string; text: string }
  | { kind: "cancel"; agentId: string }
  | { kind: "archive"; agentId: string }
  | { kind: "respond"; agentId: string; permissionId: string; optionId: string }
  | { kind: "custom"; method: string; params: Record<string, unknown> };

/** What a screen shows: an agent, or the one that an intent creates. */
export type Target = { agentId: string } | { intentId: string };

/** What the platform has to say; for observers, not for views. */
export type PlatformSignal = "foreground" | "background" | "networkChanged";

/** Calls of the library that are done by it, wherever it is. */
export interface Calls {
  pair(offer: string): Promise<HostInfo>;
  forgetHost(serverId: string): Promise<boolean>;
  send(serverId: string, intent: Intent): Promise<string>;
  providers(serverId: string): Promise<ProviderInfo[]>;
  loadOlder(serverId: string, agentId: string): Promise<void>;
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
}

/** Names a target in the map of open screens. */
export function targetKey(serverId: string, target: Target): string {
  return "agentId" in target ? `${serverId} agent ${target.agentId}` : `${serverId} intent ${target.intentId}`;
}

/** Stores and intents. There is no connect and no disconnect: the library sees to that (INV-7). */
export class BowlineClient {
  /** All hosts, their connections and errors. */
  readonly hosts: Store<HostsView>;
  /** The agents of all hosts in one list. */
  readonly directory: Store<DirectoryView>;

  readonly #backend: Backend;
  readonly #screens = new Map<string, Store<ScreenView> & { dispose(): void }>();
  readonly #own: { dispose(): void }[];
  #disposed = false;

  constructor(backend: Backend) {
    this.#backend = backend;
    const hosts = createStore({ initial: NO_HOSTS, source: backend.hosts, next: nextHosts });
    const directory = createStore({ initial: NO_DIRECTORY, source: backend.directory, next: nextDirectory });
    this.hosts = hosts;
    this.directory = directory;
    this.#own = [hosts, directory];
  }

  /** @internal What serves this client; for bridges. */
  static backendOf(client: BowlineClient): Backend {
    return client.#backend;
  }

  /** One agent's screen, its timeline included. The same store for the same target while it is in use. */
  screen(serverId: string, target: Target): Store<ScreenView> {
    this.#live();
    const key = targetKey(serverId, target);
    const open = this.#screens.get(key);
    if (open) return open;
    const store = createStore<ScreenView, ScreenUpdate>({
      initial: noScreen(serverId, "agentId" in target ? target.agentId : undefined),
      source: this.#backend.screen(serverId, target),
      next: nextScreen,
      onIdle: () => {
        if (this.#screens.get(key) === store) this.#screens.delete(key);
      },
    });
    this.#screens.set(key, store);
    return store;
  }

  /** Pairs with the daemon of an offer; done when the daemon has proved its identity and taken this device. */
  pair(offer: string): Promise<HostInfo> {
    return this.#call((backend) => backend.pair(offer));
  }

  /** Forgets a host. True if it was known. */
  forgetHost(serverId: string): Promise<boolean> {
    return this.#call((backend) => backend.forgetHost(serverId));
  }

  /** Sends an intent and gives its name. What becomes of it is in the stores; it is done exactly once (BX-1). */
  send(serverId: string, intent: Intent): Promise<string> {
    return this.#call((backend) => backend.send(serverId, intent));
  }

  /** The ways a host can run agents. */
  providers(serverId: string): Promise<ProviderInfo[]> {
    return this.#call((backend) => backend.providers(serverId));
  }

  /** Fetches the page before the oldest item of an open timeline. */
  loadOlder(serverId: string, agentId: string): Promise<void> {
    return this.#call((backend) => backend.loadOlder(serverId, agentId));
  }

  /** The user has seen that a message or a creation failed. */
  dismiss(serverId: string, intentId: string): Promise<void> {
    return this.#call((backend) => backend.dismiss(serverId, intentId));
  }

  /** Fetches the lists of all hosts again. */
  refresh(): Promise<void> {
    return this.#call((backend) => backend.refresh());
  }

  /** The user wants that path of a host, one of its probes; or the best one. */
  selectPath(serverId: string, path?: Probe): Promise<void> {
    return this.#call((backend) => backend.selectPath(serverId, path));
  }

  /** @internal For the observers of this package. */
  signal(signal: PlatformSignal): void {
    if (!this.#disposed) void this.#backend.signal(signal).catch(() => {});
  }

  /** Ends every subscription. */
  protected disposeStores(): void {
    this.#disposed = true;
    for (const store of [...this.#own, ...this.#screens.values()]) store.dispose();
    this.#screens.clear();
  }

  #live(): void {
    if (this.#disposed) throw new BowlineError("Disposed", "this client was closed", "Nothing");
  }

  async #call<T>(call: (backend: Backend) => Promise<T>): Promise<T> {
    this.#live();
    return call(this.#backend);
  }
}
