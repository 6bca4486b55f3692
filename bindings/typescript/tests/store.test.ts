/** Stores: one subscription however many subscribers, no value that is old, nothing after the end. */
import { describe, expect, it, vi } from "vitest";
import { createStore, type Source } from "../packages/runtime/src/store.js";
import { until } from "./support/waiting.js";

function rig() {
  const open: { update: (n: number) => void; end: (reason: string) => void }[] = [];
  let ended = 0;
  const source: Source<number> = (update, end) => {
    open.push({ update, end });
    return () => void ended++;
  };
  const store = createStore<number, number>({
    initial: 0,
    source,
    next: (before, update) => (update < 0 ? undefined : update === before ? before : update),
  });
  return { store, open, ended: () => ended };
}

describe("createStore", () => {
  it("subscribes once for many, and ends when the last is gone", async () => {
    const { store, open, ended } = rig();
    const ends = Array.from({ length: 10 }, () => store.subscribe(() => {}));
    expect(open.length).toBe(1);
    ends.forEach((end) => end());
    ends.forEach((end) => end());
    await until("the source ends", () => ended() === 1);
  });

  it("survives an unmount that a mount follows, as StrictMode does", async () => {
    const { store, open, ended } = rig();
    store.subscribe(() => {})();
    const end = store.subscribe(() => {});
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect([open.length, ended()]).toEqual([1, 0]);
    end();
    await until("the source ends", () => ended() === 1);
  });

  it("gives the same value until it changes, and tells everyone when it does", () => {
    const { store, open } = rig();
    const told = vi.fn();
    store.subscribe(told);
    open[0]!.update(0);
    expect(told).not.toHaveBeenCalled();
    open[0]!.update(5);
    expect(told).toHaveBeenCalledOnce();
    expect(store.getSnapshot()).toBe(5);
    expect(store.getServerSnapshot()).toBe(0);
  });

  it("begins anew when an update does not fit, and hears no more of the run before", () => {
    const { store, open, ended } = rig();
    store.subscribe(() => {});
    open[0]!.update(-1);
    expect([open.length, ended()]).toEqual([2, 1]);
    open[0]!.update(9);
    expect(store.getSnapshot()).toBe(0);
    open[1]!.update(3);
    expect(store.getSnapshot()).toBe(3);
  });

  it("begins again after its source ended by itself, while somebody listens", async () => {
    const { store, open } = rig();
    store.subscribe(() => {});
    open[0]!.end("Busy");
    await until("it begins again", () => open.length === 2);
    store.dispose();
  });

  it("takes a callback that throws, ends itself or subscribes others from inside", () => {
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
});
