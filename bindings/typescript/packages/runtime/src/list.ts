/**
 * An immutable list that is cheap to change: a change copies one chunk and the list of chunks, and shares the rest. So
 * a new item costs the same after a hundred others as after ten thousand (BX-6).
 */

const CHUNK = 128;

/** An immutable list. Read it by `length` and `at`, or iterate; `toArray` makes a plain one once. */
export class ItemList<T> implements Iterable<T> {
  static readonly EMPTY: ItemList<never> = new ItemList<never>([], 0);

  #array: readonly T[] | undefined;

  private constructor(
    /** All but the last may have any length; ends are what mostly changes. */
    private readonly chunks: readonly (readonly T[])[],
    /** How many items there are. */
    readonly length: number,
  ) {
    Object.freeze(this.chunks);
  }

  /** A list of these. */
  static of<T>(items: readonly T[]): ItemList<T> {
    return new ItemList<T>(cut(items), items.length);
  }

  /** The item at that place; negative places count from the end. */
  at(place: number): T | undefined {
    const wanted = place < 0 ? this.length + place : place;
    if (wanted < 0 || wanted >= this.length) return undefined;
    const [chunk, within] = this.#find(wanted);
    return this.chunks[chunk]?.[within];
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const chunk of this.chunks) yield* chunk;
  }

  /** As of an array. */
  map<U>(f: (item: T, place: number) => U): U[] {
    return this.toArray().map(f);
  }

  /**
   * The item for which `order` gives 0, in a list in that order: it gives a negative number for items before it, and a positive one for
   * those after it. Undefined if there is none. Takes a few steps however long the list is.
   */
  search(order: (item: T) => number): T | undefined {
    let [from, to] = [0, this.length];
    while (from < to) {
      const middle = (from + to) >>> 1;
      const item = this.at(middle) as T;
      const where = order(item);
      if (where === 0) return item;
      if (where < 0) from = middle + 1;
      else to = middle;
    }
    return undefined;
  }

  /** A plain array; the same one every time. */
  toArray(): readonly T[] {
    this.#array ??= Object.freeze(this.chunks.flat());
    return this.#array;
  }

  /** The list without `count` items from that place on, with others in their place. */
  splice(place: number, count: number, items: readonly T[]): ItemList<T> {
    if (count === 0 && items.length === 0) return this;
    const length = this.length - count + items.length;
    if (place === this.length && count === 0) {
      const last = this.chunks.at(-1);
      // The usual case: something is added at the end.
      if (last && last.length + items.length <= CHUNK) {
        return new ItemList([...this.chunks.slice(0, -1), Object.freeze([...last, ...items])], length);
      }
      return new ItemList([...this.chunks, ...cut(items)], length);
    }
    const [first, from] = this.#find(place);
    const [last, to] = this.#find(place + count);
    const before = this.chunks[first]?.slice(0, from) ?? [];
    const after = this.chunks[last]?.slice(to) ?? [];
    const middle = cut([...before, ...items, ...after]);
    return new ItemList([...this.chunks.slice(0, first), ...middle, ...this.chunks.slice(last + 1)], length);
  }

  /** The list with another item at that place. */
  with(place: number, item: T): ItemList<T> {
    const [chunk, within] = this.#find(place);
    const old = this.chunks[chunk];
    if (!old || within >= old.length) return this;
    const chunks = this.chunks.slice();
    chunks[chunk] = Object.freeze(old.with(within, item));
    return new ItemList(chunks, this.length);
  }

  /** Which chunk a place is in, and where; one behind the end is the end of the last chunk. */
  #find(place: number): [chunk: number, within: number] {
    // Mostly the end is meant.
    const last = this.chunks.length - 1;
    const tail = this.length - (this.chunks[last]?.length ?? 0);
    if (place >= tail) return [Math.max(last, 0), place - tail];
    let rest = place;
    for (let chunk = 0; chunk < last; chunk++) {
      const length = this.chunks[chunk]?.length ?? 0;
      if (rest < length) return [chunk, rest];
      rest -= length;
    }
    return [last, rest];
  }
}

function cut<T>(items: readonly T[]): (readonly T[])[] {
  const chunks: (readonly T[])[] = [];
  for (let at = 0; at < items.length; at += CHUNK) chunks.push(Object.freeze(items.slice(at, at + CHUNK)));
  return chunks;
}
