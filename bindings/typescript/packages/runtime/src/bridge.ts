/**
 * A bridge to processes that cannot load the library, an Electron renderer for instance. Updates cross as they come from
 * the library, and the far side makes the same stores of them. Nothing here is native.
 */
import { type Backend, BowlineClient, type Calls, type Target } from "./client.js";
import { BowlineError, fromPlain, type PlainError, toPlain } from "./errors.js";
import type { Source } from "./store.js";

export { BowlineClient, type Intent, type Target } from "./client.js";
export { BowlineError } from "./errors.js";
export { observeWindow } from "./observers.js";
export { type Store, waitFor } from "./store.js";
export type { DirectoryView, HostsView, ScreenView, TimelineView } from "./views.js";

/** Half of a `MessageChannel`, Electron's `MessagePortMain` included. */
export interface Port {
  postMessage(message: unknown): void;
  addEventListener?(event: "message", listener: (event: { data: unknown }) => void): void;
  on?(event: "message", listener: (message: unknown) => void): unknown;
  start?(): void;
  close(): void;
}

type Topic = { kind: "hosts" } | { kind: "directory" } | { kind: "screen"; serverId: string; target: Target };

type Request =
  | { do: "call"; id: number; name: keyof Calls; args: unknown[] }
  | { do: "open"; id: number; topic: Topic }
  | { do: "close"; id: number }
  | { do: "bye" };

type Answer =
  | { did: "call"; id: number; value?: unknown; error?: PlainError }
  | { did: "update"; id: number; update: unknown }
  | { did: "end"; id: number; reason: string }
  | { did: "bye" };

/** The calls that a bridge carries; no other name is looked up. */
const CALLS: ReadonlySet<string> = new Set<keyof Calls>([
  "pair",
  "forgetHost",
  "send",
  "providers",
  "loadOlder",
  "dismiss",
  "refresh",
  "selectPath",
  "signal",
]);

function receive(port: Port, onMessage: (message: never) => void): void {
  if (port.addEventListener) {
    port.addEventListener("message", (event) => onMessage(event.data as never));
  } else {
    port.on?.("message", (message) => {
      const data = message as { data?: unknown };
      onMessage((typeof message === "object" && message !== null && "data" in data ? data.data : message) as never);
    });
  }
  port.start?.();
}

/** Serves a port with a backend; the returned function ends it. */
export function serve(backend: Backend, port: Port): () => void {
  const open = new Map<number, () => void>();
  let live = true;
  const say = (answer: Answer) => {
    if (live) port.postMessage(answer);
  };
  const end = () => {
    if (!live) return;
    say({ did: "bye" });
    live = false;
    for (const close of open.values()) close();
    open.clear();
    port.close();
  };
  const sourceOf = (topic: Topic): Source<unknown> => {
    switch (topic.kind) {
      case "hosts":
        return backend.hosts as Source<unknown>;
      case "directory":
        return backend.directory as Source<unknown>;
      case "screen":
        return backend.screen(topic.serverId, topic.target) as Source<unknown>;
    }
  };
  receive(port, (request: Request) => {
    if (!live) return;
    switch (request.do) {
      case "call": {
        const { id, name, args } = request;
        if (!CALLS.has(name)) return;
        const call = backend[name] as (...args: unknown[]) => Promise<unknown>;
        call(...args).then(
          (value) => say({ did: "call", id, value }),
          (error: unknown) => say({ did: "call", id, error: toPlain(error) }),
        );
        break;
      }
      case "open": {
        const { id, topic } = request;
        try {
          const close = sourceOf(topic)(
            (update) => say({ did: "update", id, update }),
            (reason) => {
              open.delete(id);
              say({ did: "end", id, reason });
            },
          );
          open.set(id, close);
        } catch (error) {
          say({ did: "end", id, reason: toPlain(error).kind });
        }
        break;
      }
      case "close":
        open.get(request.id)?.();
        open.delete(request.id);
        break;
      case "bye":
        end();
        break;
    }
  });
  return end;
}

/** A client on the far side of a bridge. */
export class BridgedClient extends BowlineClient {
  readonly #close: () => void;

  /** @internal See {@link connectBridge}. */
  constructor(backend: Backend, close: () => void) {
    super(backend);
    this.#close = close;
  }

  /** Ends every subscription and the bridge; the library on the other side goes on. */
  close(): void {
    this.disposeStores();
    this.#close();
  }
}

/** Connects a port that `serveBridge` serves on the other side. */
export function connectBridge(port: Port): BridgedClient {
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: unknown) => void }>();
  const open = new Map<number, { onUpdate: (update: never) => void; onEnd: (reason: string) => void }>();
  let last = 0;
  let live = true;
  const say = (request: Request) => port.postMessage(request);
  const gone = () => {
    live = false;
    const error = new BowlineError("BridgeClosed", "the other side of the bridge is gone", "Nothing");
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    open.clear();
  };
  receive(port, (answer: Answer) => {
    switch (answer.did) {
      case "call": {
        const { id, value, error } = answer;
        const call = waiting.get(id);
        waiting.delete(id);
        if (error) call?.reject(fromPlain(error));
        else call?.resolve(value as never);
        break;
      }
      case "update":
        open.get(answer.id)?.onUpdate(answer.update as never);
        break;
      case "end": {
        const ended = open.get(answer.id);
        open.delete(answer.id);
        ended?.onEnd(answer.reason);
        break;
      }
      case "bye":
        gone();
        break;
    }
  });
  const call = (name: keyof Calls) => (...args: unknown[]) =>
    new Promise<never>((resolve, reject) => {
      if (!live) return reject(new BowlineError("BridgeClosed", "the other side of the bridge is gone", "Nothing"));
      const id = ++last;
      waiting.set(id, { resolve, reject });
      say({ do: "call", id, name, args });
    });
  const source = <U>(topic: Topic): Source<U> => (onUpdate, onEnd) => {
    const id = ++last;
    open.set(id, { onUpdate, onEnd });
    if (live) say({ do: "open", id, topic });
    return () => {
      if (open.delete(id) && live) say({ do: "close", id });
    };
  };
  const backend: Backend = {
    hosts: source({ kind: "hosts" }),
    directory: source({ kind: "directory" }),
    screen: (serverId, target) => source({ kind: "screen", serverId, target }),
    pair: call("pair"),
    forgetHost: call("forgetHost"),
    send: call("send"),
    providers: call("providers"),
    loadOlder: call("loadOlder"),
    dismiss: call("dismiss"),
    refresh: call("refresh"),
    selectPath: call("selectPath"),
    signal: call("signal"),
  };
  return new BridgedClient(backend, () => {
    if (live) say({ do: "bye" });
    gone();
    port.close();
  });
}
