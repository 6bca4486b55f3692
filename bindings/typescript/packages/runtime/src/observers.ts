/** Observers of the platform: they tell the library what views must not (INV-7). Each ends with the returned function. */
import { type BowlineClient, tell } from "./client.ts";
import type { Bowline } from "./open.ts";

/** Something that emits events in Node's way. */
export interface Emitter {
  on(event: string, listener: () => void): unknown;
  removeListener(event: string, listener: () => void): unknown;
}

function listen(emitter: Emitter, listeners: Record<string, () => void>): () => void {
  for (const [event, listener] of Object.entries(listeners)) emitter.on(event, listener);
  return () => {
    for (const [event, listener] of Object.entries(listeners)) emitter.removeListener(event, listener);
  };
}

/** Observes Electron in its main process: `observeElectron(bowline, { app, powerMonitor })`. */
export function observeElectron(
  bowline: Bowline,
  { app, powerMonitor }: { app: Emitter; powerMonitor: Emitter },
): () => void {
  const ends = [
    listen(app, {
      "browser-window-focus": () => tell(bowline, "foreground"),
      "browser-window-blur": () => tell(bowline, "background"),
    }),
    listen(powerMonitor, {
      suspend: () => tell(bowline, "background"),
      resume: () => {
        tell(bowline, "networkChanged");
        tell(bowline, "foreground");
      },
    }),
  ];
  return () => ends.forEach((end) => end());
}

/** The used part of a browser's window. */
export interface WindowLike {
  addEventListener(event: string, listener: () => void): void;
  removeEventListener(event: string, listener: () => void): void;
  document: {
    visibilityState: string;
    addEventListener(event: string, listener: () => void): void;
    removeEventListener(event: string, listener: () => void): void;
  };
}

/** Observes a window, for a renderer process: `observeWindow(client, window)`. */
export function observeWindow(client: BowlineClient, window: WindowLike): () => void {
  const visible = () => tell(client, window.document.visibilityState === "visible" ? "foreground" : "background");
  const online = () => tell(client, "networkChanged");
  window.document.addEventListener("visibilitychange", visible);
  window.addEventListener("online", online);
  return () => {
    window.document.removeEventListener("visibilitychange", visible);
    window.removeEventListener("online", online);
  };
}

/** The used parts of React Native's `AppState` and of NetInfo. */
export interface ReactNativeParts {
  AppState: { addEventListener(event: "change", listener: (state: string) => void): { remove(): void } };
  NetInfo?: { addEventListener(listener: () => void): () => void };
}

/**
 * Observes a React Native app: `observeReactNative(bowline, { AppState, NetInfo })`. Files and
 * locks are released in the background.
 */
export function observeReactNative(bowline: Bowline, { AppState, NetInfo }: ReactNativeParts): () => void {
  // One after the other: a quick return must not overtake the pause.
  let turn = Promise.resolve();
  const then = (step: () => Promise<void>) => {
    turn = turn.then(step).catch(() => {});
  };
  const state = AppState.addEventListener("change", (state) => {
    if (state === "active") {
      then(() => bowline.resume());
      tell(bowline, "foreground");
    } else if (state === "background") {
      tell(bowline, "background");
      then(() => bowline.pause());
    }
  });
  const network = NetInfo?.addEventListener(() => tell(bowline, "networkChanged"));
  return () => {
    state.remove();
    network?.();
  };
}
