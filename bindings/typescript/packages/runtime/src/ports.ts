/**
 * A bridge to processes that cannot load the library, an Electron renderer for instance. Updates cross as they come from
 * the library, and the far side makes the same stores of them. Nothing here is native.
 */
import { type BlobWork, namesFile } from "./blobs.ts";
import { type Backend, BowlineClient, type Calls, type Target } from "./client.ts";
import { asBowlineError, BowlineError, fromPlain, type PlainError, toPlain } from "./errors.ts";
import { Advice } from "./generated/enums.ts";
import type { Source } from "./store.ts";

/** Half of a `MessageChannel`, Electron's `MessagePortMain` included. */
export interface Port {
  postMessage(message: unknown): void;
  addEventListener?(event: "message" | "close", listener: (event: object) => void): void;
  on?(event: "message" | "close", listener: (message: unknown) => void): unknown;
  start?(): void;
  close(): void;
}

type Topic =
  | { kind: "hosts" }
  | { kind: "directory" }
  | { kind: "screen"; serverId: string; target: Target }
  | { kind: "table" | "log" | "topic"; serverId: string; name: string; params: object }
  | { kind: "blob"; serverId: string; work: BlobWork };

type Request =
  | { do: "call"; id: number; name: keyof Calls; args: unknown[] }
  | { do: "open"; id: number; topic: Topic }
  | { do: "close"; id: number }
  | { do: "bye" };

type Answer =
  | { did: "call"; id: number; value?: unknown; error?: PlainError }
  | { did: "update"; id: number; update: unknown }
  | { did: "end"; id: number; error: PlainError }
  | { did: "bye" };

/** The calls that a bridge carries; no other name is looked up. */
const CALLS: ReadonlySet<string> = new Set<keyof Calls>([
  "inspectOffer",
  "pair",
  "forgetHost",
  "send",
  "outcome",
  "providers",
  "query",
  "loadMoreRows",
  "refreshTable",
  "loadOlderItems",
  "refreshLog",
  "loadOlder",
  "loadNewer",
  "intentResult",
  "jumpToNewest",
  "reload",
  "dismiss",
  "refresh",
  "selectPath",
  "signal",
]);

function receive<T>(port: Port, onMessage: (message: T) => void, onClose: () => void): void {
  // The other side may be a page with untrusted content: no message it sends ends this process.
  const take = (message: unknown) => {
    if (typeof message === "object" && message !== null) onMessage(message as T);
  };
  // Of a web's port, and of Electron's, it is the data of an event; of Node's it is the message itself.
  const unwrapped = (event: unknown) => {
    take(typeof event === "object" && event !== null && "data" in event ? event.data : event);
  };
  if (port.addEventListener) {
    port.addEventListener("message", unwrapped);
    port.addEventListener("close", onClose);
  } else {
    port.on?.("message", unwrapped);
    port.on?.("close", onClose);
  }
  port.start?.();
}

/** Serves a port with a backend, until the other side is gone or the function that is returned is called. */
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
  const close = (id: number) => {
    open.get(id)?.();
    open.delete(id);
  };
  const call = async (name: keyof Calls, args: unknown): Promise<unknown> => {
    if (!CALLS.has(name) || !Array.isArray(args)) throw new BowlineError("Internal", "there is no such call", Advice.Report);
    return (backend[name] as (...args: unknown[]) => Promise<unknown>)(...args);
  };
  const sourceOf = (topic: Topic): Source<unknown> => {
    switch (topic.kind) {
      case "hosts":
        return backend.hosts as Source<unknown>;
      case "directory":
        return backend.directory as Source<unknown>;
      case "screen":
        return backend.screen(topic.serverId, topic.target) as Source<unknown>;
      case "table":
      case "log":
      case "topic":
        return backend[topic.kind](topic.serverId, topic.name, topic.params) as Source<unknown>;
      case "blob":
        // A page must not make this process read or write files.
        if (namesFile(topic.work)) throw new BowlineError("InvalidQuery", "no files over a bridge, bytes only", Advice.Report);
        return backend.blob(topic.serverId, topic.work) as Source<unknown>;
    }
  };
  receive<Request>(
    port,
    (request) => {
      if (!live) return;
      switch (request.do) {
        case "call": {
          const { id, name, args } = request;
          call(name, args).then(
            (value) => say({ did: "call", id, value }),
            (error: unknown) => say({ did: "call", id, error: toPlain(error) }),
          );
          break;
        }
        case "open": {
          const { id, topic } = request;
          close(id);
          try {
            const end = sourceOf(topic)(
              (update) => say({ did: "update", id, update }),
              (error) => {
                open.delete(id);
                say({ did: "end", id, error: toPlain(error) });
              },
            );
            open.set(id, end);
          } catch (error) {
            say({ did: "end", id, error: toPlain(error) });
          }
          break;
        }
        case "close":
          close(request.id);
          break;
        case "bye":
          end();
          break;
      }
    },
    end,
  );
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

  /** Ends every subscription and the bridge; the library on the other side continues. */
  close(): void {
    this.disposeStores();
    this.#close();
  }
}

/** Connects a port that `serveBridge` serves on the other side. */
export function connectBridge(port: Port): BridgedClient {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: BowlineError) => void }>();
  const open = new Map<number, { onUpdate: (update: unknown) => void; onEnd: (error: BowlineError) => void }>();
  let last = 0;
  let live = true;
  const lost = () => new BowlineError("BridgeClosed", "the other side of the bridge is gone", Advice.Nothing);
  const say = (request: Request) => {
    if (!live) throw lost();
    port.postMessage(request);
  };
  const gone = () => {
    if (!live) return;
    live = false;
    const [calls, sources] = [[...waiting.values()], [...open.values()]];
    waiting.clear();
    open.clear();
    for (const { reject } of calls) reject(lost());
    for (const { onEnd } of sources) onEnd(lost());
  };
  receive<Answer>(
    port,
    (answer) => {
      switch (answer.did) {
        case "call": {
          const { id, value, error } = answer;
          const call = waiting.get(id);
          waiting.delete(id);
          if (error) call?.reject(fromPlain(error));
          else call?.resolve(value);
          break;
        }
        case "update":
          open.get(answer.id)?.onUpdate(answer.update);
          break;
        case "end": {
          const ended = open.get(answer.id);
          open.delete(answer.id);
          ended?.onEnd(fromPlain(answer.error));
          break;
        }
        case "bye":
          gone();
          break;
      }
    },
    gone,
  );
  const call =
    <A extends unknown[], T>(name: keyof Calls) =>
    (...args: A) =>
      new Promise<T>((resolve, reject) => {
        const id = ++last;
        try {
          say({ do: "call", id, name, args });
          waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
        } catch (error) {
          // Gone, or something in it cannot be sent.
          reject(asBowlineError(error));
        }
      });
  const source =
    <U>(topic: Topic): Source<U> =>
    (onUpdate, onEnd) => {
      const id = ++last;
      say({ do: "open", id, topic });
      open.set(id, { onUpdate: onUpdate as (update: unknown) => void, onEnd });
      return () => {
        if (open.delete(id) && live) say({ do: "close", id });
      };
    };
  const backend: Backend = {
    hosts: source({ kind: "hosts" }),
    directory: source({ kind: "directory" }),
    screen: (serverId, target) => source({ kind: "screen", serverId, target }),
    table: (serverId, name, params) => source({ kind: "table", serverId, name, params }),
    log: (serverId, name, params) => source({ kind: "log", serverId, name, params }),
    topic: (serverId, name, params) => source({ kind: "topic", serverId, name, params }),
    blob: (serverId, work) => source({ kind: "blob", serverId, work }),
    inspectOffer: call("inspectOffer"),
    pair: call("pair"),
    forgetHost: call("forgetHost"),
    send: call("send"),
    outcome: call("outcome"),
    providers: call("providers"),
    query: call("query"),
    loadMoreRows: call("loadMoreRows"),
    refreshTable: call("refreshTable"),
    loadOlderItems: call("loadOlderItems"),
    refreshLog: call("refreshLog"),
    loadOlder: call("loadOlder"),
    loadNewer: call("loadNewer"),
    intentResult: call("intentResult"),
    jumpToNewest: call("jumpToNewest"),
    reload: call("reload"),
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
