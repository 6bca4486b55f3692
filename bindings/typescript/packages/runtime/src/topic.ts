/** Events of a service's topic: every one once and in order, as a callback or an async iteration (LD-10). */
import type { LoadFailure, TopicUpdate } from "./shapes.ts";
import type { TopicState } from "./generated/enums.ts";
import { asBowlineError, type BowlineError, disposed as disposedError } from "./errors.ts";
import { AGAIN_MS, passes, type Source } from "./store.ts";

/** Events that wait for a slow iteration; a batch without any counts as one. With more, the oldest are dropped and the next batch is `missed`. */
const MOST_WAITING = 4_096;
/** Characters of their JSON; at the bound as with `MOST_WAITING`. */
const MOST_WAITING_CHARS = 8 << 20;

/** An event of a topic. */
export interface TopicEvent<Body> {
  /** What it is about. */
  readonly key: string;
  readonly body: Body;
  /** The intent that caused it, whoever sent that. */
  readonly intentId: string | undefined;
}

/** The next events of a topic. No batch replaces another. */
export interface TopicBatch<Body> {
  /** Events may be missing between those of the batch before and those of this one: load what they are about again. */
  readonly missed: boolean;
  /** The events, in order. None if only the rest is news. */
  readonly events: readonly TopicEvent<Body>[];
  /** What to show besides the events. From `Following` on, every event arrives. */
  readonly state: TopicState;
  /** Why it is not followed. */
  readonly error: LoadFailure | undefined;
}

/** A topic. Each iteration and each callback is told every event from its own beginning on. */
export interface Topic<Body> extends AsyncIterable<TopicBatch<Body>> {
  /**
   * Calls back with each batch, until the function that is returned is called. One that throws is logged and gets the next batch all
   * the same. `onEnd` is told why nothing comes any more: the host was forgotten, the client was closed.
   */
  readonly subscribe: (onBatch: (batch: TopicBatch<Body>) => void, onEnd?: (failure: BowlineError) => void) => () => void;
}

/** Subscriptions of a client, which end with it. */
export class TopicEnds {
  readonly #ends = new Set<(failure: BowlineError) => void>();
  #disposed = false;

  /** Returns what removes it; one that comes after the end is ended at once. */
  add(end: (failure: BowlineError) => void): () => void {
    if (this.#disposed) end(disposedError());
    else this.#ends.add(end);
    return () => this.#ends.delete(end);
  }

  dispose(): void {
    this.#disposed = true;
    for (const end of [...this.#ends]) end(disposedError());
    this.#ends.clear();
  }
}

/** A batch of the library's with its bodies parsed. */
export function batchOf<Body>({ missed, events, state, error }: TopicUpdate): TopicBatch<Body> {
  const parsed = events.map(({ key, json, intentId }) => Object.freeze({ key, body: JSON.parse(json) as Body, intentId }));
  return Object.freeze({ missed, events: Object.freeze(parsed), state, error });
}

/** Characters of an update's bodies. */
const sizeOf = ({ events }: TopicUpdate) => events.reduce((size, { json }) => size + json.length, 0);

/** What a batch counts as. One that only tells a state is kept as well, so it counts too. */
const countOf = ({ events }: TopicBatch<unknown>) => Math.max(1, events.length);

/** Makes a topic. */
export function topicOf<Body>(source: Source<TopicUpdate>, ends: TopicEnds): Topic<Body> {
  const follow = (onBatch: (batch: TopicBatch<Body>, size: number) => void, onEnd?: (failure: BowlineError) => void) => {
    let live = true;
    let begun = false;
    // What the source of an earlier run did not tell.
    let missed = false;
    let endRun = () => {};
    let again: ReturnType<typeof setTimeout> | undefined;
    const stop = () => {
      live = false;
      clearTimeout(again);
      remove();
      endRun();
    };
    const finish = (failure: BowlineError) => {
      if (!live) return;
      stop();
      onEnd?.(failure);
    };
    const fail = (failure: BowlineError) => {
      if (!live) return;
      if (!passes(failure)) return finish(failure);
      missed = begun;
      again = setTimeout(start, AGAIN_MS);
    };
    const take = (update: TopicUpdate) => {
      if (!live) return;
      try {
        begun = true;
        const batch = batchOf<Body>(missed ? { ...update, missed } : update);
        missed = false;
        onBatch(batch, sizeOf(update));
      } catch (error) {
        // Not handed on: the library would give the same batch again.
        console.error("a callback of a Bowline topic failed", error);
      }
    };
    const start = () => {
      try {
        endRun = source(take, fail);
      } catch (error) {
        fail(asBowlineError(error));
      }
    };
    let remove = () => {};
    remove = ends.add(finish);
    if (live) start();
    return () => {
      if (live) stop();
    };
  };
  return {
    subscribe: (onBatch, onEnd) => follow((batch) => onBatch(batch), onEnd),
    [Symbol.asyncIterator]() {
      const waiting: { batch: TopicBatch<Body>; size: number }[] = [];
      let [count, chars] = [0, 0];
      let failure: BowlineError | undefined;
      let done = false;
      // Of each `next` that waits: a caller may ask again before the answer.
      let asleep: (() => void)[] = [];
      const wake = () => {
        const woken = asleep;
        asleep = [];
        for (const resolve of woken) resolve();
      };
      const take = () => {
        const first = waiting.shift();
        if (!first) return;
        count -= countOf(first.batch);
        chars -= first.size;
        return first.batch;
      };
      const end = follow(
        (batch, size) => {
          waiting.push({ batch, size });
          count += countOf(batch);
          chars += size;
          while ((count > MOST_WAITING || chars > MOST_WAITING_CHARS) && waiting.length > 1) {
            take();
            const next = waiting[0]!;
            next.batch = Object.freeze({ ...next.batch, missed: true });
          }
          wake();
        },
        (reason) => {
          failure = reason;
          wake();
        },
      );
      const finished = { done: true, value: undefined } as const;
      return {
        async next() {
          for (;;) {
            if (done) return finished;
            const value = take();
            if (value) return { done: false, value };
            if (failure) {
              done = true;
              throw failure;
            }
            await new Promise<void>((resolve) => asleep.push(resolve));
          }
        },
        async return() {
          done = true;
          end();
          wake();
          return finished;
        },
      };
    },
  };
}
