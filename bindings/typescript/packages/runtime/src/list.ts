/**
 * An immutable list that is cheap to change: a change copies one chunk of items, one group of chunks and the list of
 * groups, and shares the rest. So a change costs about the same among a hundred items as among a hundred thousand
 * (BX-6).
 */

/** Most items of a chunk. */
const CHUNK = 128;

/** Chunks of a new group. One that grew to more than twice as many is cut. */
const GROUP = 32;

type Chunk<T> = readonly T[];

interface Group<T> {
  readonly chunks: readonly Chunk<T>[];
  /** How many items there are in its chunks. */
  readonly length: number;
}

/** Where an item is: its group, the chunk in the group, the place in the chunk. */
type Found = readonly [group: number, chunk: number, within: number];

/** An immutable list. Read it by `length` and `at`, or iterate; `toArray` makes a plain one once. */
export class ItemList<T> implements Iterable<T> {
  static readonly EMPTY: ItemList<never> = new ItemList<never>([], 0);

  #array: readonly T[] | undefined;

  private constructor(
    /** None is empty, nor is one of their chunks. */
    private readonly groups: readonly Group<T>[],
    /** How many items there are. */
    readonly length: number,
  ) {
    Object.freeze(this.groups);
  }

  /** A list of these. */
  static of<T>(items: readonly T[]): ItemList<T> {
    return new ItemList<T>(grouped(cut(items)), items.length);
  }

  /** The item at that place; negative places count from the end. */
  at(place: number): T | undefined {
    const wanted = place < 0 ? this.length + place : place;
    if (wanted < 0 || wanted >= this.length) return undefined;
    const [group, chunk, within] = this.#find(wanted);
    return this.groups[group]?.chunks[chunk]?.[within];
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const group of this.groups) for (const chunk of group.chunks) yield* chunk;
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
    const group = lastUpTo(this.groups, (it) => it.chunks[0]?.[0] as T, order);
    const chunk = group && lastUpTo(group.chunks, (it) => it[0] as T, order);
    const item = chunk && lastUpTo(chunk, (it) => it, order);
    return item !== undefined && order(item) === 0 ? item : undefined;
  }

  /** A plain array; the same one every time. */
  toArray(): readonly T[] {
    this.#array ??= Object.freeze(this.groups.flatMap((group) => group.chunks.flat()));
    return this.#array;
  }

  /** The list without `count` items from that place on, with others in their place. */
  splice(place: number, count: number, items: readonly T[]): ItemList<T> {
    if (count === 0 && items.length === 0) return this;
    const [first, firstChunk, from] = this.#find(place);
    const [last, lastChunk, to] = this.#find(place + count);
    const begun = this.groups[first]?.chunks.slice(0, firstChunk) ?? [];
    const ended = this.groups[last]?.chunks.slice(lastChunk + 1) ?? [];
    const changed = [
      ...(this.groups[first]?.chunks[firstChunk]?.slice(0, from) ?? []),
      ...items,
      ...(this.groups[last]?.chunks[lastChunk]?.slice(to) ?? []),
    ];
    // Few items join their neighbours, so that removals do not leave many small chunks.
    const neighbour = begun.at(-1);
    if (neighbour && changed.length < CHUNK / 4 && neighbour.length + changed.length <= CHUNK) {
      begun.pop();
      changed.unshift(...neighbour);
    }
    // What follows a list's end mostly follows it again, so chunks are full there; others can grow in the middle.
    const middle = cut(changed, place === this.length ? CHUNK : evenly(changed.length));
    const chunks = [...begun, ...middle, ...ended];
    const groups = [...this.groups.slice(0, first), ...grouped(chunks), ...this.groups.slice(last + 1)];
    return new ItemList(groups, this.length - count + items.length);
  }

  /** The list with another item at that place. */
  with(place: number, item: T): ItemList<T> {
    const [at, chunk, within] = this.#find(place);
    const group = this.groups[at];
    const old = group?.chunks[chunk];
    if (!group || !old || within >= old.length) return this;
    const chunks = group.chunks.with(chunk, Object.freeze(old.with(within, item)));
    return new ItemList(this.groups.with(at, groupOf(chunks)), this.length);
  }

  /** Where a place is; one behind the end is the end of the last chunk. */
  #find(place: number): Found {
    const group = this.groups.length - 1;
    const chunks = this.groups[group]?.chunks ?? [];
    const chunk = chunks.length - 1;
    const tail = this.length - (chunks[chunk]?.length ?? 0);
    // Mostly the end is meant.
    if (place >= tail) return [Math.max(group, 0), Math.max(chunk, 0), place - tail];
    const [at, rest] = reach(this.groups, place);
    return [at, ...reach(this.groups[at]?.chunks ?? [], rest)];
  }
}

/** Which of the parts a place is in, and where in it. */
function reach(parts: readonly { readonly length: number }[], place: number): [part: number, within: number] {
  let rest = place;
  let at = 0;
  for (const { length } of parts) {
    if (rest < length) break;
    rest -= length;
    at++;
  }
  return [at, rest];
}

/** The last of the parts whose first item is not behind what is searched. */
function lastUpTo<P, T>(parts: readonly P[], first: (part: P) => T, order: (item: T) => number): P | undefined {
  let [from, to] = [0, parts.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (order(first(parts[middle] as P)) <= 0) from = middle + 1;
    else to = middle;
  }
  return parts[from - 1];
}

/** The chunks in groups. */
function grouped<T>(chunks: readonly Chunk<T>[]): Group<T>[] {
  if (chunks.length > 0 && chunks.length <= 2 * GROUP) return [groupOf(chunks)];
  const groups: Group<T>[] = [];
  for (let at = 0; at < chunks.length; at += GROUP) groups.push(groupOf(chunks.slice(at, at + GROUP)));
  return groups;
}

function groupOf<T>(chunks: readonly Chunk<T>[]): Group<T> {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  return Object.freeze({ chunks: Object.freeze(chunks), length });
}

/** The size of chunks of about the same length. */
function evenly(length: number): number {
  return Math.max(1, Math.ceil(length / Math.ceil(length / CHUNK)));
}

/** The items in chunks. */
function cut<T>(items: readonly T[], size = CHUNK): Chunk<T>[] {
  const chunks: Chunk<T>[] = [];
  for (let at = 0; at < items.length; at += size) chunks.push(Object.freeze(items.slice(at, at + size)));
  return chunks;
}
