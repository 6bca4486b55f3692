/** Stores: one subscription however many subscribers, no value that is old, nothing after the end, and no crash on the way. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { Advice } from "@bowline/runtime/bridge";
import { BowlineError } from "../packages/runtime/src/errors.js";
import { createStore, type Kept, type Source, waitFor } from "../packages/runtime/src/store.js";
import { until } from "./support/waiting.js";

interface View extends Kept {
  readonly n: number;
}

const busy = () => new BowlineError("TooMany", "busy", Advice.TryAgain);
const gone = () => new BowlineError("UnknownHost", "gone", Advice.Nothing);

function rig() {
  const open: { update: (n: number) => void; end: (error: BowlineError) => void }[] = [];
  const state = { ended: 0, refusal: undefined as unknown };
  const source: Source<number> = (update, end) => {
    if (state.refusal) throw state.refusal;
    open.push({ update, end });
    return () => void state.ended++;
  };
  const initial: View = Object.freeze({ n: 0, failure: undefined });
  const next = (before: View, update: number): View | undefined => {
    if (update < 0) return undefined;
    return update === before.n ? before : Object.freeze({ n: update, failure: undefined });
  };
  return { store: createStore<View, number>({ initial, source, next }), open, state, initial };
}

afterEach(() => vi.restoreAllMocks());

describe("createStore", () => {
  it("subscribes once for many, and ends when the last is gone", async () => {
    const { store, open, state } = rig();
    const ends = Array.from({ length: 10 }, () => store.subscribe(() => {}));
    expect(open.length).toBe(1);
    ends.forEach((end) => end());
    ends.forEach((end) => end());
    await until("the source ends", () => state.ended === 1);
  });

  it("survives an unmount that a mount follows, as StrictMode does", async () => {
    vi.useFakeTimers();
    try {
      const { store, open, state } = rig();
      store.subscribe(() => {})();
      const end = store.subscribe(() => {});
      vi.advanceTimersByTime(60_000);
      expect([open.length, state.ended]).toEqual([1, 0]);
      end();
      vi.advanceTimersByTime(60_000);
      expect([open.length, state.ended]).toEqual([1, 1]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("gives the same value until it changes, and tells everyone when it does", () => {
    const { store, open, initial } = rig();
    const told = vi.fn();
    store.subscribe(told);
    open[0]!.update(0);
    expect(told).not.toHaveBeenCalled();
    open[0]!.update(5);
    expect(told).toHaveBeenCalledOnce();
    expect(store.getSnapshot().n).toBe(5);
    expect(store.getSnapshot()).toBe(store.getSnapshot());
    expect(store.getServerSnapshot()).toBe(initial);
  });

  it("begins anew when an update does not fit, and hears no more of the run before", () => {
    const { store, open, state } = rig();
    store.subscribe(() => {});
    open[0]!.update(-1);
    expect([open.length, state.ended]).toEqual([2, 1]);
    open[0]!.update(9);
    expect(store.getSnapshot().n).toBe(0);
    open[1]!.update(3);
    expect(store.getSnapshot().n).toBe(3);
  });

  it("a late update after the end is not heard", () => {
    const { store, open } = rig();
    const told = vi.fn();
    store.subscribe(told);
    store.dispose();
    told.mockClear();
    open[0]!.update(9);
    open[0]!.end(gone());
    expect(told).not.toHaveBeenCalled();
    expect(store.getSnapshot()).toMatchObject({ n: 0, failure: { kind: "Disposed" } });
  });

  it("nobody is called after they left, also within one round", () => {
    const { store, open } = rig();
    const second = vi.fn();
    store.subscribe(() => end());
    const end = store.subscribe(second);
    open[0]!.update(1);
    expect(second).not.toHaveBeenCalled();
  });

  it("takes a callback that ends itself or subscribes others from inside", () => {
    const { store, open } = rig();
    const order: string[] = [];
    const end = store.subscribe(() => {
      order.push("first");
      end();
      store.subscribe(() => order.push("late"));
    });
    store.subscribe(() => order.push("second"));
    open[0]!.update(1);
    expect(order).toEqual(["first", "second"]);
    open[0]!.update(2);
    expect(order).toEqual(["first", "second", "second", "late"]);
  });

  it("a callback that throws harms no other, and is let go after sixteen failures in a row", () => {
    const said = vi.spyOn(console, "error").mockImplementation(() => {});
    const { store, open } = rig();
    let [calls, sound] = [0, 0];
    store.subscribe(() => {
      calls++;
      // Once it does as it should: the count begins anew.
      if (calls !== 10) throw new Error("a defect of the app");
    });
    store.subscribe(() => void sound++);
    for (let n = 1; n <= 100; n++) open[0]!.update(n);
    expect([calls, sound]).toEqual([26, 100]);
    expect(said).toHaveBeenCalledTimes(25);
    expect(open.length).toBe(1);
  });
});

describe("a source that ends by itself", () => {
  it("is begun again where that may help, and says why meanwhile", async () => {
    const { store, open, state } = rig();
    store.subscribe(() => {});
    open[0]!.update(4);
    open[0]!.end(busy());
    expect(store.getSnapshot()).toMatchObject({ n: 4, failure: { kind: "TooMany" } });
    expect(state.ended).toBe(1);
    await until("it begins again", () => open.length === 2);
    open[1]!.update(5);
    expect(store.getSnapshot()).toEqual({ n: 5, failure: undefined });
    store.dispose();
  });

  it("is not begun twice when a subscriber comes back during the pause", () => {
    vi.useFakeTimers();
    try {
      const { store, open, state } = rig();
      const end = store.subscribe(() => {});
      open[0]!.end(busy());
      end();
      store.subscribe(() => {});
      vi.advanceTimersByTime(60_000);
      expect(open.length).toBe(2);
      store.dispose();
      expect(state.ended).toBe(2);
    } finally {
      vi.useRealTimers();
    }
  });

  it("stays ended where it would not help, until somebody subscribes anew", () => {
    vi.useFakeTimers();
    try {
      const { store, open } = rig();
      const told = vi.fn();
      const end = store.subscribe(told);
      open[0]!.end(gone());
      expect(told).toHaveBeenCalledOnce();
      expect(store.getSnapshot().failure?.kind).toBe("UnknownHost");
      vi.advanceTimersByTime(60_000);
      expect(open.length).toBe(1);
      end();
      vi.advanceTimersByTime(60_000);
      store.subscribe(told);
      expect(open.length).toBe(2);
      expect(store.getSnapshot().failure).toBeUndefined();
    } finally {
      vi.useRealTimers();
    }
  });

  it("one that cannot be begun is a failure of the value, and nothing is thrown at anyone", async () => {
    const { store, open, state } = rig();
    state.refusal = busy();
    store.subscribe(() => {});
    expect(store.getSnapshot().failure?.kind).toBe("TooMany");
    // What a timer begins must not end the process either.
    state.refusal = new TypeError("a defect");
    await until("the timer has tried", () => store.getSnapshot().failure?.kind === "Internal");
    expect(open.length).toBe(0);
  });
});

describe("waitFor", () => {
  it("gives the value, and leaves the store", async () => {
    const { store, open, state } = rig();
    const waiting = waitFor(store, ({ n }) => n === 2);
    open[0]!.update(1);
    open[0]!.update(2);
    expect((await waiting).n).toBe(2);
    await until("it has left", () => state.ended === 1);
  });

  it("rejects when nothing will come: aborted, closed, failed", async () => {
    const never = () => false;
    const aborted = rig();
    await expect(waitFor(aborted.store, never, AbortSignal.abort("enough"))).rejects.toBe("enough");
    const abort = new AbortController();
    const later = waitFor(aborted.store, never, abort.signal);
    abort.abort("enough");
    await expect(later).rejects.toBe("enough");
    await until("it has left", () => aborted.state.ended === aborted.open.length);
    const closed = rig();
    const during = waitFor(closed.store, never);
    closed.store.dispose();
    await expect(during).rejects.toMatchObject({ kind: "Disposed" });
    await expect(waitFor(closed.store, never)).rejects.toMatchObject({ kind: "Disposed" });
    const refused = rig();
    refused.state.refusal = gone();
    await expect(waitFor(refused.store, never)).rejects.toMatchObject({ kind: "UnknownHost" });
    const defect = waitFor(rig().store, () => {
      throw new TypeError("of the app");
    });
    await expect(defect).rejects.toThrow("of the app");
  });

  it("a failure that passes is waited out", async () => {
    const { store, open } = rig();
    const waiting = waitFor(store, ({ n }) => n === 1);
    open[0]!.end(busy());
    await until("it begins again", () => open.length === 2);
    open[1]!.update(1);
    expect((await waiting).n).toBe(1);
  });
});
