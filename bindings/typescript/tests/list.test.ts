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

interface Group {
  chunks: unknown[];
}

function groupsOf(list: ItemList<unknown>): Group[] {
  return (list as unknown as { groups: Group[] }).groups;
}

function chunksOf(list: ItemList<unknown>): unknown[] {
  return groupsOf(list).flatMap((group) => group.chunks);
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

  it("finds an item of a list in order, and none that is not there", () => {
    for (const length of [0, 1, 127, 128, 129, 5_000]) {
      const list = ItemList.of(Array.from({ length }, (_, n) => 2 * n));
      for (let wanted = -1; wanted <= 2 * length; wanted++) {
        const there = wanted >= 0 && wanted < 2 * length && wanted % 2 === 0;
        expect(list.search((item) => item - wanted)).toBe(there ? wanted : undefined);
      }
    }
  });

  it("BX-6: an append shares all chunks but the last", () => {
    const list = ItemList.of(Array.from({ length: 10_000 }, (_, n) => ({ n })));
    const longer = list.splice(10_000, 0, [{ n: 10_000 }]);
    const shared = chunksOf(longer).filter((chunk, place) => chunk === chunksOf(list)[place]);
    expect(shared.length).toBeGreaterThanOrEqual(chunksOf(list).length - 1);
    expect(longer.at(5_000)).toBe(list.at(5_000));
  });

  it("BX-6: a change in the middle copies one chunk and one group of chunks", () => {
    const list = ItemList.of(Array.from({ length: 100_000 }, (_, n) => n));
    const other = list.with(50_000, -1);
    expect(chunksOf(other).filter((chunk) => !chunksOf(list).includes(chunk))).toHaveLength(1);
    expect(groupsOf(other).filter((group) => !groupsOf(list).includes(group))).toHaveLength(1);
    expect(Math.max(...groupsOf(list).map((group) => group.chunks.length))).toBeLessThanOrEqual(64);
    expect(groupsOf(list).length).toBeLessThanOrEqual(32);
  });

  it("BX-6: stays flat however it grows and shrinks", () => {
    const next = numbers(11);
    let list: ItemList<number> = ItemList.of<number>([]);
    for (let step = 0; step < 12_000; step++) list = list.splice(next(list.length + 1), 0, [step]);
    while (list.length > 6_000) list = list.splice(next(list.length), 1, []);
    expect(chunksOf(list).length).toBeLessThanOrEqual(6_000 / 32);
    expect(groupsOf(list).length).toBeLessThanOrEqual(6_000 / 32 / 8);
  });
});
