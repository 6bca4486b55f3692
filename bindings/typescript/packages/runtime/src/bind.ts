/** The library in this process as a {@link Backend}: the generated code of Node and that of React Native have one shape. */
import type * as Generated from "./generated/bowline.js";
import type { Backend, Intent, PlatformSignal, Target } from "./client.js";
import { type AdviceName, BowlineError, type ErrorKind } from "./errors.js";
import type { Source } from "./store.js";

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

/** {@link translated} for promises. */
export async function translatedAsync<T>(native: Native, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw translate(native, error);
  }
}

function translate(native: Native, error: unknown): unknown {
  if (error instanceof BowlineError) return error;
  if (native.BowlineError.instanceOf(error)) {
    const { detail, advice, reason } = error.inner;
    const reasonName = reason === undefined ? undefined : native.Reason[reason];
    return new BowlineError(error.tag as ErrorKind, detail, native.Advice[advice] as AdviceName, reasonName);
  }
  return new BowlineError("Internal", String(error), "Report", undefined, { cause: error });
}

/** Holds the event loop while something is subscribed: the library's own threads do not. */
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

/** A source of one kind of update. `onUpdate` is not called any more once the source was ended. */
export function sourceOf<U>(
  native: Native,
  subscribe: (onUpdate: (update: U) => void) => Generated.SubscriptionLike,
): Source<U> {
  return (onUpdate, onEnd) => {
    let live = true;
    const release = hold();
    let subscription: Generated.SubscriptionLike;
    try {
      subscription = translated(native, () => subscribe((update) => {
        if (live) onUpdate(update);
      }));
    } catch (error) {
      release();
      throw error;
    }
    void subscription.ended().then(
      (reason) => {
        release();
        // The handle is let go here and not by the garbage collector: a screen is opened and closed many times.
        (subscription as Generated.Subscription).uniffiDestroy();
        if (live) onEnd(native.EndReason[reason]);
      },
      () => release(),
    );
    return () => {
      live = false;
      subscription.cancel();
    };
  };
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

/** A runtime of the library as a backend. */
export function backendOf(native: Native, runtime: Generated.BowlineRuntimeLike): Backend {
  const now = async <T>(call: () => T): Promise<T> => translated(native, call);
  const later = <T>(call: () => Promise<T>): Promise<T> => translatedAsync(native, call);
  return {
    hosts: sourceOf(native, (onUpdate) => runtime.subscribeHosts({ onHosts: onUpdate })),
    directory: sourceOf(native, (onUpdate) => runtime.subscribeDirectory({ onDirectory: onUpdate })),
    screen: (serverId, target) =>
      sourceOf(native, (onUpdate) =>
        runtime.subscribeScreen(serverId, targetOf(native, target), { onScreen: onUpdate }),
      ),
    pair: (offer) => later(() => runtime.pair(offer)),
    forgetHost: (serverId) => later(() => runtime.forgetHost(serverId)),
    send: (serverId, intent) => now(() => runtime.send(serverId, intentOf(native, intent))),
    providers: (serverId) => later(() => runtime.providers(serverId)),
    loadOlder: (serverId, agentId) => now(() => runtime.loadOlder(serverId, agentId)),
    dismiss: (serverId, intentId) => now(() => runtime.dismiss(serverId, intentId)),
    refresh: () => now(() => runtime.refresh()),
    selectPath: (serverId, path) => now(() => runtime.selectPath(serverId, path)),
    signal: (signal) => now(() => runtime.platformEvent(eventOf(native, signal))),
  };
}
