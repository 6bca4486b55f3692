/** The library in this process as a {@link Backend}: the generated code of Node and that of React Native have one shape. */
import type * as Generated from "./generated/bowline.ts";
import type { BlobOf, BlobUpdate, BlobWork } from "./blobs.ts";
import type { Backend, Intent, PlatformSignal, Target } from "./client.ts";
import { asBowlineError, BowlineError, type ErrorKind } from "./errors.ts";
import type { Patch } from "./patches.ts";
import { type Shaped, shaped } from "./shapes.ts";
import type { Source } from "./store.ts";

/** The generated module. */
export type Native = typeof Generated;

/** Does something of the library's and makes its error one of ours. */
export function translated<T>(native: Native, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw translate(native, error);
  }
}

/** {@link translated} for promises. Whoever waits for one keeps the process. */
export async function translatedAsync<T>(native: Native, call: () => Promise<T>): Promise<T> {
  const release = hold();
  try {
    return await call();
  } catch (error) {
    throw translate(native, error);
  } finally {
    release();
  }
}

function translate(native: Native, error: unknown): BowlineError {
  if (native.BowlineError.instanceOf(error)) {
    const { detail, advice, reason } = error.inner;
    // Only of what a daemon rejected.
    const { refusal } = error.inner as { refusal?: Generated.Refusal };
    return new BowlineError(error.tag as ErrorKind, detail, advice, reason, { refusal });
  }
  return asBowlineError(error);
}

/** Holds the event loop while something is subscribed or waited for: the library's own threads do not. */
const beats = { count: 0, timer: undefined as ReturnType<typeof setInterval> | undefined };

function hold(): () => void {
  if (beats.count++ === 0) beats.timer = setInterval(() => {}, 1 << 30);
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    if (--beats.count === 0) clearInterval(beats.timer);
  };
}

/** The kind of error that tells why a subscription ended without being cancelled. */
const END_KINDS: Readonly<Record<keyof typeof Generated.EndReason, ErrorKind>> = {
  HostGone: "UnknownHost",
  UnknownCreation: "Closed",
  TooMany: "TooMany",
  Busy: "TooMany",
  ListenerFailed: "Internal",
  Broken: "Broken",
  Cancelled: "Closed",
  RuntimeClosed: "Closed",
};

function endOf(native: Native, reason: Generated.EndReason): BowlineError {
  const kind = END_KINDS[native.EndReason[reason] as keyof typeof Generated.EndReason];
  return new BowlineError(kind, native.endText(reason), native.endAdvice(reason));
}

/** A source of one kind of update, in the shape for apps. `onUpdate` is not called any more once the source was ended. The process stays for it. */
export function sourceOf<U>(
  native: Native,
  subscribe: (onUpdate: (update: U) => void) => Generated.SubscriptionLike,
): Source<Shaped<U>> {
  return (onUpdate, onEnd) => {
    let live = true;
    let there = true;
    const subscription = translated(native, () => subscribe((update) => {
      if (live) onUpdate(shaped(update));
    }));
    const release = hold();
    const ended = (failure: BowlineError) => {
      release();
      // The handle is released here rather than by the garbage collector: screens open and close
      // often.
      there = false;
      (subscription as Generated.Subscription).uniffiDestroy();
      if (!live) return;
      live = false;
      onEnd(failure);
    };
    void subscription.ended().then(
      (reason) => ended(endOf(native, reason)),
      (error: unknown) => ended(translate(native, error)),
    );
    return () => {
      live = false;
      if (there) subscription.cancel();
    };
  };
}

/** A blob on its way, as a source that ends by itself once it is whole. Ended before, it is cancelled. */
function blobSource(
  native: Native,
  start: (listener: Generated.TransferListener) => Generated.TransferLike,
): Source<BlobUpdate> {
  return (onUpdate, onEnd) => {
    let live = true;
    let there = true;
    const onProgress = ({ state, hash, done, total }: Generated.TransferProgress) => {
      if (!live) return;
      const all = total === undefined ? undefined : Number(total);
      onUpdate({ progress: { state, hash, done: Number(done), total: all } });
    };
    const transfer = translated(native, () => start({ onProgress }));
    const over = () => {
      there = false;
      (transfer as Generated.Transfer).uniffiDestroy();
      return live;
    };
    translatedAsync(native, () => transfer.outcome()).then(
      ({ hash, bytes }) => {
        if (over()) onUpdate({ stored: { hash, bytes } });
      },
      (error: BowlineError) => {
        if (over()) onEnd(error);
      },
    );
    return () => {
      live = false;
      if (there) transfer.cancel();
    };
  };
}

function blobOf(native: Native, of: BlobOf): Generated.BlobOf {
  const { BlobOf } = native;
  const paramsJson = JSON.stringify(of.params ?? {});
  return "table" in of ? BlobOf.Table.new({ name: of.table, paramsJson }) : BlobOf.Log.new({ name: of.log, paramsJson });
}

function transferOf(
  native: Native,
  runtime: Generated.BowlineRuntimeLike,
  serverId: string,
  work: BlobWork,
  listener: Generated.TransferListener,
): Generated.TransferLike {
  const { BlobSink, BlobSource } = native;
  if (work.do === "put") {
    const { source } = work;
    const from = source instanceof Uint8Array
      ? BlobSource.Bytes.new({ bytes: source as Uint8Array<ArrayBuffer> })
      : BlobSource.File.new({ path: source.file });
    return runtime.putBlob(serverId, from, listener);
  }
  const { hash, of, sink } = work;
  const to = sink ? BlobSink.File.new({ path: sink.file }) : BlobSink.Bytes.new();
  return runtime.getBlob(serverId, hash, of && blobOf(native, of), to, listener);
}

function intentOf(native: Native, intent: Intent): Generated.Intent {
  const { Intent } = native;
  switch (intent.kind) {
    case "createAgent": {
      const { provider, cwd, title, prompt } = intent;
      return Intent.CreateAgent.new({ provider, cwd, title, prompt } as Parameters<typeof Intent.CreateAgent.new>[0]);
    }
    case "sendPrompt":
      return Intent.SendPrompt.new({ agentId: intent.agentId, text: intent.text });
    case "cancel":
      return Intent.Cancel.new({ agentId: intent.agentId });
    case "archive":
      return Intent.Archive.new({ agentId: intent.agentId });
    case "respond": {
      const { agentId, permissionId, optionId } = intent;
      return Intent.Respond.new({ agentId, permissionId, optionId });
    }
    case "custom":
      return Intent.Custom.new({ method: intent.method, paramsJson: JSON.stringify(intent.params) });
  }
}

function patchOf(native: Native, patch: Patch): Generated.Patch {
  const { PatchChange } = native;
  const change = (): Generated.PatchChange => {
    if (patch.change === "remove") return PatchChange.Remove.new();
    // What is no JSON is refused by the library.
    const json = JSON.stringify(patch.value) ?? "";
    if (patch.change === "append") return PatchChange.Append.new({ json });
    return patch.change === "upsert" ? PatchChange.Upsert.new({ json }) : PatchChange.Merge.new({ json });
  };
  const { table, params, key } = patch;
  return { table, paramsJson: JSON.stringify(params), key, change: change() };
}

function targetOf(native: Native, target: Target): Generated.ScreenTarget {
  const { ScreenTarget } = native;
  return "agentId" in target
    ? ScreenTarget.Agent.new({ agentId: target.agentId })
    : ScreenTarget.Creation.new({ intentId: target.intentId });
}

function eventOf(native: Native, signal: PlatformSignal): Generated.PlatformEvent {
  const { PlatformEvent } = native;
  switch (signal) {
    case "foreground":
      return PlatformEvent.Foreground;
    case "background":
      return PlatformEvent.Background;
    case "networkChanged":
      return PlatformEvent.NetworkChanged;
  }
}

/** A runtime of the library as a backend; the function gives it, or throws when it is no more. */
export function nativeBackend(native: Native, runtime: () => Generated.BowlineRuntimeLike): Backend {
  const now = async <T>(call: (runtime: Generated.BowlineRuntimeLike) => T): Promise<Shaped<T>> =>
    shaped(translated(native, () => call(runtime())));
  const later = async <T>(call: (runtime: Generated.BowlineRuntimeLike) => Promise<T>): Promise<Shaped<T>> =>
    shaped(await translatedAsync(native, async () => call(runtime())));
  return {
    hosts: sourceOf<Generated.HostsSnapshot>(native, (onUpdate) => runtime().subscribeHosts({ onHosts: onUpdate })),
    directory: sourceOf<Generated.DirectoryUpdate>(native, (onUpdate) => runtime().subscribeDirectory({ onDirectory: onUpdate })),
    screen: (serverId, target) =>
      sourceOf<Generated.ScreenUpdate>(native, (onUpdate) =>
        runtime().subscribeScreen(serverId, targetOf(native, target), { onScreen: onUpdate }),
      ),
    table: (serverId, name, params) =>
      sourceOf<Generated.TableUpdate>(native, (onUpdate) =>
        runtime().subscribeTable(serverId, name, JSON.stringify(params), { onTable: onUpdate }),
      ),
    log: (serverId, name, params) =>
      sourceOf<Generated.LogUpdate>(native, (onUpdate) =>
        runtime().subscribeLog(serverId, name, JSON.stringify(params), { onItems: onUpdate }),
      ),
    topic: (serverId, name, params) =>
      sourceOf<Generated.TopicUpdate>(native, (onUpdate) =>
        runtime().subscribeTopic(serverId, name, JSON.stringify(params), { onTopic: onUpdate }),
      ),
    blob: (serverId, work) =>
      blobSource(native, (listener) => transferOf(native, runtime(), serverId, work, listener)),
    inspectOffer: (offer) => now((runtime) => runtime.inspectOffer(offer)),
    pair: (offer) => later((runtime) => runtime.pair(offer)),
    forgetHost: (serverId) => later((runtime) => runtime.forgetHost(serverId)),
    send: (serverId, intent, patches) =>
      now((runtime) =>
        patches.length === 0
          ? runtime.send(serverId, intentOf(native, intent))
          : runtime.sendWith(serverId, intentOf(native, intent), patches.map((patch) => patchOf(native, patch))).id(),
      ),
    outcome: (serverId, intentId) => later((runtime) => runtime.outcome(serverId, intentId)),
    providers: (serverId) => later((runtime) => runtime.providers(serverId)),
    query: async (serverId, method, params) =>
      JSON.parse(await later((runtime) => runtime.query(serverId, method, JSON.stringify(params)))),
    loadMoreRows: (serverId, name, params) =>
      now((runtime) => runtime.loadMoreRows(serverId, name, JSON.stringify(params))),
    refreshTable: (serverId, name, params) =>
      now((runtime) => runtime.refreshTable(serverId, name, JSON.stringify(params))),
    loadOlderItems: (serverId, name, params) =>
      now((runtime) => runtime.loadOlderItems(serverId, name, JSON.stringify(params))),
    refreshLog: (serverId, name, params) => now((runtime) => runtime.refreshLog(serverId, name, JSON.stringify(params))),
    loadOlder: (serverId, agentId) => now((runtime) => runtime.loadOlder(serverId, agentId)),
    intentResult: async (serverId, intentId) => {
      // Parsed after it was shaped: what a service answers stays as it is.
      const json = await now((runtime) => runtime.intentResult(serverId, intentId));
      return json === undefined ? undefined : JSON.parse(json);
    },
    loadNewer: (serverId, agentId) => now((runtime) => runtime.loadNewer(serverId, agentId)),
    jumpToNewest: (serverId, agentId) => now((runtime) => runtime.jumpToNewest(serverId, agentId)),
    reload: (serverId, agentId) => now((runtime) => runtime.reload(serverId, agentId)),
    dismiss: (serverId, intentId) => now((runtime) => runtime.dismiss(serverId, intentId)),
    refresh: () => now((runtime) => runtime.refresh()),
    selectPath: (serverId, path) => now((runtime) => runtime.selectPath(serverId, path)),
    signal: (signal) => now((runtime) => runtime.platformEvent(eventOf(native, signal))),
  };
}
