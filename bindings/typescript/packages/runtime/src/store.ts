/**
 * A store: the newest value of one subscription, for `useSyncExternalStore` and for anything else. It subscribes to the
 * library while somebody is subscribed to it, once however many those are.
 */

/** A value that changes. */
export interface Store<T> {
  /** The newest value, the same object until it changes. Never calls the library. */
  readonly getSnapshot: () => T;
  /** The value for rendering on a server: nothing is known there. */
  readonly getServerSnapshot: () => T;
  /** Calls back after every change, until the function that is returned is called. */
  readonly subscribe: (onChange: () => void) => () => void;
}

/** Where a store's updates come from: begins with the whole value, and ends when the returned function is called. */
export type Source<U> = (onUpdate: (update: U) => void, onEnd: (reason: string) => void) => () => void;

/** How long a store nobody is subscribed to goes on: mounts that follow on unmounts find it running. */
const LINGER_MS = 100;
/** Pause before a source that ended by itself is begun again. */
const AGAIN_MS = 500;

/** What a {@link Store} is made of. */
export interface StoreOptions<T, U> {
  readonly initial: T;
  readonly source: Source<U>;
  /** The next value; nothing when the update does not fit, and the source is begun anew. */
  readonly next: (before: T, update: U) => T | undefined;
  /** Called when the last subscriber is gone and the source has been ended. */
  readonly onIdle?: () => void;
}

/** Makes a store. */
export function createStore<T, U>({ initial, source, next, onIdle }: StoreOptions<T, U>): Store<T> & { dispose(): void } {
  const listeners = new Set<() => void>();
  let value = initial;
  let run: { end: () => void; live: boolean } | undefined;
  let linger: ReturnType<typeof setTimeout> | undefined;
  let again: ReturnType<typeof setTimeout> | undefined;
  let disposed = false;

  const stop = () => {
    clearTimeout(again);
    const ending = run;
    run = undefined;
    if (ending) {
      // One update may still be on its way: it finds this run dead.
      ending.live = false;
      ending.end();
    }
  };

  const start = () => {
    if (disposed) return;
    const mine = { end: () => {}, live: true };
    run = mine;
    mine.end = source(
      (update) => {
        if (!mine.live || disposed) return;
        const after = next(value, update);
        if (after === undefined) {
          restart();
        } else if (after !== value) {
          value = after;
          for (const listener of [...listeners]) listener();
        }
      },
      () => {
        if (!mine.live || disposed) return;
        stop();
        if (listeners.size > 0) again = setTimeout(start, AGAIN_MS);
      },
    );
    // It may have ended before it was told how.
    if (!mine.live) mine.end();
  };

  const restart = () => {
    stop();
    start();
  };

  return {
    getSnapshot: () => value,
    getServerSnapshot: () => initial,
    subscribe(onChange) {
      // A function of its own for each subscription: the same callback may be given twice.
      const listener = () => onChange();
      listeners.add(listener);
      clearTimeout(linger);
      if (!run && listeners.size === 1) start();
      return () => {
        if (!listeners.delete(listener) || listeners.size > 0) return;
        linger = setTimeout(() => {
          if (listeners.size > 0) return;
          stop();
          onIdle?.();
        }, LINGER_MS);
      };
    },
    dispose() {
      disposed = true;
      clearTimeout(linger);
      listeners.clear();
      stop();
    },
  };
}

/** Waits until a store's value is as wanted, subscribed to it meanwhile. An aborted signal ends the wait with its reason. */
export function waitFor<T>(store: Store<T>, wanted: (value: T) => boolean, signal?: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    let end = () => {};
    const look = () => {
      const value = store.getSnapshot();
      if (!wanted(value)) return;
      end();
      signal?.removeEventListener("abort", abort);
      resolve(value);
    };
    const abort = () => {
      end();
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    end = store.subscribe(look);
    look();
  });
}
