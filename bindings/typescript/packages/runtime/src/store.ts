/**
 * A store: the newest value of one subscription, for `useSyncExternalStore` and for anything else. It subscribes to the
 * library while somebody is subscribed to it, once however many those are.
 */
import { asBowlineError, type BowlineError, disposed as disposedError } from "./errors.ts";
import { Advice } from "./generated/enums.ts";

/** A value that changes. */
export interface Store<T> {
  /** The newest value, the same object until it changes. Never calls the library. */
  readonly getSnapshot: () => T;
  /** The value for rendering on a server: nothing is known there. */
  readonly getServerSnapshot: () => T;
  /**
   * Calls back after every change, until the function that is returned is called. A callback that throws keeps nobody else
   * from being called; after sixteen failures in a row it is let go.
   */
  readonly subscribe: (onChange: () => void) => () => void;
}

/** The part of a store's value that describes the store itself. */
export interface Kept {
  /** Why nothing new comes any more, for as long as that is so: the host was forgotten, the client was closed. */
  readonly failure: BowlineError | undefined;
}

/** Where a store's updates come from: begins with the whole value, and ends when the returned function is called. */
export type Source<U> = (onUpdate: (update: U) => void, onEnd: (error: BowlineError) => void) => () => void;

/** A store, as the one holds it who made it. */
export interface OwnedStore<T> extends Store<T> {
  /** Ends it for good, and tells its subscribers so. */
  dispose(): void;
}

/**
 * Time that a store outlives its last subscriber, so that a mount right after an unmount finds it
 * running.
 */
const LINGER_MS = 100;
/** Pause before a source that ended by itself is begun again. */
export const AGAIN_MS = 500;
/** Failures in a row after which a callback is detached, as the library does with its listeners. */
const MAX_FAILURES = 16;

/** The parts of a {@link Store}. */
export interface StoreOptions<T extends Kept, U> {
  readonly initial: T;
  readonly source: Source<U>;
  /** The next value; none when the update does not fit, and the source is restarted. */
  readonly next: (before: T, update: U) => T | undefined;
}

interface Listener {
  readonly onChange: () => void;
  failures: number;
}

interface Run {
  end: () => void;
  live: boolean;
  /** Whoever finds stores by a weak reference finds this one for as long as it runs. */
  readonly store: object;
}

/** Whether to retry automatically. */
export function passes(failure: BowlineError): boolean {
  return failure.advice === Advice.TryAgain;
}

/** Makes a store. */
export function createStore<T extends Kept, U>({ initial, source, next }: StoreOptions<T, U>): OwnedStore<T> {
  const listeners = new Set<Listener>();
  let value = initial;
  let run: Run | undefined;
  let linger: ReturnType<typeof setTimeout> | undefined;
  let again: ReturnType<typeof setTimeout> | undefined;
  let disposed = false;

  const tell = (listener: Listener) => {
    try {
      listener.onChange();
      listener.failures = 0;
    } catch (error) {
      // Not handed on: the library would take it for a failure of all of them.
      console.error("a callback of a Bowline store failed", error);
      if (++listener.failures >= MAX_FAILURES) leave(listener);
    }
  };

  const publish = (after: T) => {
    if (after === value) return;
    value = after;
    for (const listener of [...listeners]) if (listeners.has(listener)) tell(listener);
  };

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

  const fail = (failure: BowlineError) => {
    stop();
    if (passes(failure) && listeners.size > 0) again = setTimeout(start, AGAIN_MS);
    publish(Object.freeze({ ...value, failure }));
  };

  const start = () => {
    clearTimeout(again);
    if (disposed || run) return;
    const mine: Run = { end: () => {}, live: true, store };
    run = mine;
    try {
      mine.end = source(
        (update) => {
          if (!mine.live) return;
          const after = next(value, update);
          if (after) {
            publish(after);
          } else {
            stop();
            start();
          }
        },
        (failure) => {
          if (mine.live) fail(failure);
        },
      );
    } catch (error) {
      if (mine.live) fail(asBowlineError(error));
      return;
    }
    // It may have ended before it was told how.
    if (!mine.live) mine.end();
  };

  const leave = (listener: Listener) => {
    if (!listeners.delete(listener) || listeners.size > 0) return;
    clearTimeout(linger);
    linger = setTimeout(() => {
      if (listeners.size === 0) stop();
    }, LINGER_MS);
  };

  const store: OwnedStore<T> = {
    getSnapshot: () => value,
    getServerSnapshot: () => initial,
    subscribe(onChange) {
      if (disposed) return () => {};
      // One of its own for each subscription: the same callback may be given twice.
      const listener = { onChange, failures: 0 };
      listeners.add(listener);
      clearTimeout(linger);
      if (listeners.size === 1 && !run) {
        // The error of the previous run does not apply to this one.
        if (value.failure) value = Object.freeze({ ...value, failure: undefined });
        start();
      }
      return () => leave(listener);
    },
    dispose() {
      if (disposed) return;
      disposed = true;
      clearTimeout(linger);
      stop();
      publish(Object.freeze({ ...value, failure: disposedError() }));
      listeners.clear();
    },
  };
  return store;
}

/**
 * Waits until a store's value is as wanted, subscribed to it meanwhile. Rejects with the reason of an aborted signal, and with
 * the store's failure when nothing new will come.
 */
export function waitFor<T extends Kept>(store: Store<T>, wanted: (value: T) => boolean, signal?: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    let done = false;
    let end = () => {};
    const settle = (how: () => void) => {
      done = true;
      end();
      signal?.removeEventListener("abort", look);
      how();
    };
    const look = () => {
      if (done) return;
      try {
        const value = store.getSnapshot();
        const { failure } = value;
        if (signal?.aborted) settle(() => reject(signal.reason));
        else if (wanted(value)) settle(() => resolve(value));
        else if (failure && !passes(failure)) settle(() => reject(failure));
      } catch (error) {
        settle(() => reject(error));
      }
    };
    signal?.addEventListener("abort", look);
    end = store.subscribe(look);
    // It may have come to an end inside of `subscribe`.
    if (done) end();
    else look();
  });
}

/**
 * Values of a store, the one that it has first; a slow loop gets fewer and newer ones. The store is subscribed to until the loop ends.
 * It throws the reason of an aborted signal, and the store's failure when nothing new will come.
 */
export async function* valuesOf<T extends Kept>(store: Store<T>, signal?: AbortSignal): AsyncGenerator<T, never> {
  let last: T | undefined;
  // Between two waits as well, or an unhurried loop would subscribe anew for each value.
  const end = store.subscribe(() => {});
  try {
    for (;;) yield (last = await waitFor(store, (value) => value !== last && !value.failure, signal));
  } finally {
    end();
  }
}
