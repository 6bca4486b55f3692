/** The list behind a timeline: right, and cheap where it must be (BX-6). */
import { describe, expect, it } from "vitest";
import { ItemList } from "../packages/runtime/src/list.js";

/** The same numbers in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
}

describe("ItemList", () => {
  it("does what an array does, whatever is done to it", () => {
    const next = numbers(7);
    let list: ItemList<number> = ItemList.of<number>([]);
    let plain: number[] = [];
    for (let step = 0; step < 400; step++) {
      const before = [...plain];
      const earlier = list;
      if (next(3) === 0 && plain.length > 0) {
        const place = next(plain.length);
        list = list.with(place, step);
        plain[place] = step;
      } else {
        const place = next(plain.length + 1);
        const count = next(Math.min(plain.length - place, 40) + 1);
        const items = Array.from({ length: next(30) }, (_, n) => step * 100 + n);
        list = list.splice(place, count, items);
        plain = plain.toSpliced(place, count, ...items);
      }
      expect([...earlier]).toEqual(before);
      expect(list.toArray()).toEqual(plain);
      expect(list.length).toBe(plain.length);
      if (plain.length > 0) {
        const place = next(plain.length);
        expect(list.at(place)).toBe(plain[place]);
        expect(list.at(-1)).toBe(plain.at(-1));
      }
      expect(list.at(plain.length)).toBeUndefined();
    }
  });

  it("BX-6: an append shares all chunks but the last", () => {
    const list = ItemList.of(Array.from({ length: 10_000 }, (_, n) => ({ n })));
    const longer = list.splice(10_000, 0, [{ n: 10_000 }]);
    const chunks = (of: ItemList<{ n: number }>) => (of as unknown as { chunks: unknown[] }).chunks;
    const shared = chunks(longer).filter((chunk, place) => chunk === chunks(list)[place]);
    expect(shared.length).toBeGreaterThanOrEqual(chunks(list).length - 1);
    expect(longer.at(5_000)).toBe(list.at(5_000));
  });
});
