/**
 * What stores hold, and how updates of the library become it. Rows that did not change keep their identity, so that a
 * view that compares by identity renders what changed and nothing else.
 */
import type { Pairing, PendingMessage, TimelineItem } from "./generated/bowline.ts";
import type {
  DirectoryRow,
  DirectoryUpdate,
  FailedMessage,
  HostDirectory,
  HostSnapshot,
  HostsSnapshot,
  ListChange,
  LogUpdate,
  Newer,
  Older,
  LoadFailure,
  MoreRows,
  RowFailure,
  ScreenUpdate,
  TableUpdate,
  TimelineUpdate,
} from "./shapes.ts";
import { Connectivity, Creation, TableState } from "./generated/enums.ts";
import type { Target } from "./client.ts";
import { ItemList } from "./list.ts";
import type { Kept } from "./store.ts";

/** All hosts. */
export interface HostsView extends Kept {
  /** Grows with each change. */
  readonly rev: number;
  /** Whether the first update has arrived. */
  readonly ready: boolean;
  /** Every known host. */
  readonly hosts: readonly HostSnapshot[];
  /** Pairings in progress, with the code to show while the daemon's owner is asked. */
  readonly pairings: readonly Pairing[];
}

/** The agents of all hosts in one list. */
export interface DirectoryView extends Kept {
  /** Grows with each change. */
  readonly rev: number;
  /** Whether the first update has arrived. */
  readonly ready: boolean;
  /** Show a skeleton. */
  readonly loading: boolean;
  /** Oldest first; agents on their way stand at the end. */
  readonly rows: readonly DirectoryRow[];
  /** How each host's part stands. */
  readonly hosts: readonly HostDirectory[];
}

/** The members of an update that a view takes over as they are; the others say what changed. */
type Standing = Omit<TimelineUpdate, "baseRev" | "changes" | "rows" | "pending" | "failed" | "older" | "newer">;

/** One agent's timeline. */
export interface TimelineView extends Readonly<Standing> {
  /** The newest items, without gaps. */
  readonly items: ItemList<TimelineItem>;
  /** Messages on their way: shown after the items, with a mark (UX-3). */
  readonly pending: readonly PendingMessage[];
  /** Messages that were not taken, with the error, until dismissed. */
  readonly failed: readonly FailedMessage[];
  /** Content before the first item. */
  readonly older: Older;
  /**
   * Content after the last item: a view that grew too long at its beginning drops rows at its end.
   */
  readonly newer: Newer;
}

/** The content of an agent's screen, which the library decides (UX-1 … UX-4). */
export interface ScreenView extends Kept, Readonly<Omit<ScreenUpdate, "timeline">> {
  /** Whether the first update has arrived. */
  readonly ready: boolean;
  /** The timeline. */
  readonly timeline: TimelineView;
}

/** A screen without what changes with every line of output. */
export type ScreenFrame = Omit<ScreenView, "rev" | "timeline">;

/** Whether two screens are the same but for their timelines. */
export function sameFrame(one: ScreenFrame, other: ScreenFrame): boolean {
  return (Object.keys(other) as (keyof ScreenFrame | "rev" | "timeline")[]).every(
    (name) => name === "rev" || name === "timeline" || same(one[name], other[name]),
  );
}

/** Whether two plain values are the same, also in their members. */
function same(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  // A time has no members.
  if (one instanceof Date || other instanceof Date) return Number(one) === Number(other);
  const names = Object.keys(one);
  const equals = (name: string) => same((one as Record<string, unknown>)[name], (other as Record<string, unknown>)[name]);
  return names.length === Object.keys(other).length && names.every((name) => name in other && equals(name));
}

/** A row of a table. */
export interface TableRow<Value> {
  readonly key: string;
  /** `null` when the row is too large to be sent, or is `unreadable`; `omittedBytes` is its size then. */
  readonly value: Value;
  readonly omittedBytes: number | undefined;
  /** Whether its service cannot read what is stored of it any more. */
  readonly unreadable: boolean;
  /** Whether the value is what an intent of this app is expected to make of it (LD-3). */
  readonly pending: boolean;
  /** Why the newest intent of this app that concerned the row failed, until it is dismissed. */
  readonly failure: RowFailure | undefined;
}

/** Rows of a service's table, in order of key. A row that did not change is the same object. */
export interface TableView<Value> extends Kept {
  /** Grows with each change. */
  readonly rev: number;
  /** Whether the first update has arrived. */
  readonly ready: boolean;
  /** The first rows, without gaps. */
  readonly rows: ItemList<TableRow<Value>>;
  /** What to show besides them. */
  readonly state: TableState;
  /** Why the rows are not current. */
  readonly error?: LoadFailure | undefined;
  /** Rows after the last one; `loadMoreRows` loads them. */
  readonly more: MoreRows;
  /** Whether the table has more rows than fit; those after the last one are left out. */
  readonly truncated: boolean;
}

/** The row of that key, if it is among the loaded ones. */
export function rowOf<Value>({ rows }: TableView<Value>, key: string): TableRow<Value> | undefined {
  return rows.search((row) => compare(row.key, key));
}

/** The order of a table's rows: that of code points, as in UTF-8. JavaScript's own differs where characters are pairs. */
function compare(one: string, other: string): number {
  const [a, b] = [one[Symbol.iterator](), other[Symbol.iterator]()];
  for (;;) {
    const [left, right] = [a.next().value, b.next().value];
    if (left === undefined || right === undefined) return Number(left !== undefined) - Number(right !== undefined);
    if (left !== right) return left.codePointAt(0)! - right.codePointAt(0)!;
  }
}

/** An item of a log. */
export interface LogItem<Value> {
  /** What identifies it in its log for as long as it is shown: a key for a list. */
  readonly id: string;
  /** Its place in the log, which no other item ever has; nothing for one that an intent is expected to add. */
  readonly index: number | undefined;
  /** `null` when the item is too large to be sent, or is `unreadable`; `omittedBytes` is its size then. */
  readonly value: Value;
  readonly omittedBytes: number | undefined;
  /** Whether its service cannot read what is stored of it any more. */
  readonly unreadable: boolean;
  /** The member of the value whose text grows; nothing until it has grown. */
  readonly growing: string | undefined;
  /** Whether it is what an intent of this app is expected to add (LD-3). */
  readonly pending: boolean;
  /** Why the intent failed that was expected to add it, until it is dismissed. */
  readonly failure: RowFailure | undefined;
}

/** The newest items of a service's log, oldest first. An item that did not change is the same object. */
export interface LogView<Value> extends Kept {
  /** Grows with each change. */
  readonly rev: number;
  /** Whether the first update has arrived. */
  readonly ready: boolean;
  /** The newest items, and after them those that intents of this app are expected to add. One that is fetched, because it was too large for an event, is missing meanwhile. */
  readonly items: ItemList<LogItem<Value>>;
  /** What to show besides them. */
  readonly state: TableState;
  /** Why the items are not current. */
  readonly error?: LoadFailure | undefined;
  /** Items before the first one; `loadOlderItems` loads them. */
  readonly older: MoreRows;
  /** Whether the daemon has older items than fit; they are left out. */
  readonly truncated: boolean;
  /** Index of the oldest item that the daemon keeps, as far as known. */
  readonly first: number;
  /** Index of the next item, as far as known. */
  readonly next: number;
}

/** Beyond the ends of a list of which nothing is known. */
const NOTHING = Object.freeze({ kind: "none" });

export const NO_LOG: LogView<never> = Object.freeze({
  rev: 0,
  ready: false,
  failure: undefined,
  items: ItemList.EMPTY as ItemList<LogItem<never>>,
  state: TableState.Loading,
  error: undefined,
  older: NOTHING,
  truncated: false,
  first: 0,
  next: 0,
});

export const NO_TABLE: TableView<never> = Object.freeze({
  rev: 0,
  ready: false,
  failure: undefined,
  rows: ItemList.EMPTY as ItemList<TableRow<never>>,
  state: TableState.Loading,
  error: undefined,
  more: NOTHING,
  truncated: false,
});

export const NO_HOSTS: HostsView = Object.freeze({
  rev: 0,
  ready: false,
  failure: undefined,
  hosts: Object.freeze([]),
  pairings: Object.freeze([]),
});

export const NO_DIRECTORY: DirectoryView = Object.freeze({
  rev: 0,
  ready: false,
  failure: undefined,
  loading: true,
  rows: Object.freeze([]),
  hosts: Object.freeze([]),
});

export const NO_TIMELINE: TimelineView = Object.freeze({
  rev: 0,
  items: ItemList.EMPTY as ItemList<TimelineItem>,
  pending: Object.freeze([]),
  failed: Object.freeze([]),
  loaded: false,
  catchingUp: false,
  older: NOTHING,
  newer: NOTHING,
  replaced: 0,
  error: undefined,
});

/**
 * A screen of which nothing is known, for the milliseconds until the library has spoken. It shows nothing: an overlay over what is
 * loaded already, or over a creation, would be against UX-2 and UX-3.
 */
export function noScreen(serverId: string, target: Target): ScreenView {
  return Object.freeze({
    rev: 0,
    ready: false,
    failure: undefined,
    serverId,
    agentId: "agentId" in target ? target.agentId : undefined,
    agent: undefined,
    creation: Creation.None,
    creating: undefined,
    creationFailed: undefined,
    overlay: false,
    toast: undefined,
    placeholder: false,
    errorIndicator: undefined,
    composerEnabled: false,
    readOnly: undefined,
    connectivity: Connectivity.Connecting,
    connectionError: undefined,
    timeline: NO_TIMELINE,
  });
}

/** Whether a revision is older than another; they wrap after four billion. */
export function isOlder(rev: number, than: number): boolean {
  return ((than - rev) | 0) > 0;
}

/** The next view of all hosts. */
export function nextHosts(before: HostsView, update: HostsSnapshot): HostsView {
  if (before.ready && isOlder(update.rev, before.rev)) return before;
  const known = new Map(before.hosts.map((host) => [host.serverId, host]));
  const hosts = update.hosts.map((host) => {
    const old = known.get(host.serverId);
    return old && old.rev === host.rev ? old : Object.freeze(host);
  });
  const pairings = Object.freeze(update.pairings);
  return Object.freeze({ rev: update.rev, ready: true, failure: undefined, hosts: Object.freeze(hosts), pairings });
}

/**
 * Applies changes to a list; insertions and replacements take `rows` in order, and `grow` appends to the text of a row.
 * Returns nothing when a position is outside of the list, or a row of a list grows that does not.
 */
function changed<T>(
  before: ItemList<T>,
  { changes, rows }: { changes: readonly ListChange[]; rows: readonly T[] },
  grow?: (row: T, text: string) => T,
): ItemList<T> | undefined {
  let list = before;
  let used = 0;
  const take = (count: number) => rows.slice(used, (used += count)).map((row) => Object.freeze(row));
  for (const change of changes) {
    const { at } = change;
    const replaced = change.kind === "remove" ? change.count : change.kind === "insert" ? 0 : 1;
    if (at + replaced > list.length) return undefined;
    switch (change.kind) {
      case "remove":
        list = list.splice(at, change.count, []);
        break;
      case "insert":
        list = list.splice(at, 0, take(change.count));
        break;
      case "update":
        list = list.splice(at, 1, take(1));
        break;
      case "grow":
        if (!grow) return undefined;
        list = list.with(at, Object.freeze(grow(list.at(at) as T, change.text)));
        break;
    }
    if (used > rows.length) return undefined;
  }
  return list;
}

/**
 * The next view of the list; none when the update is for another view, and the list is then
 * requested again.
 */
export function nextDirectory(before: DirectoryView, update: DirectoryUpdate): DirectoryView | undefined {
  const { baseRev, changes, rows: changedRows, ...shown } = update;
  if (baseRev !== undefined && (!before.ready || baseRev !== before.rev)) return undefined;
  const begun = baseRev === undefined ? NO_DIRECTORY : before;
  const rows = changes.length === 0 ? begun.rows : changed(ItemList.of(begun.rows), update)?.toArray();
  return rows && Object.freeze({ ...shown, ready: true, failure: undefined, rows, hosts: Object.freeze(update.hosts) });
}

/** The next view of a table; nothing when the update is for another one than this. The value of each new row is parsed here, once. */
export function nextTable<Value>(before: TableView<Value>, update: TableUpdate): TableView<Value> | undefined {
  const { baseRev, changes, rows: changedRows, ...shown } = update;
  if (baseRev !== undefined && (!before.ready || baseRev !== before.rev)) return undefined;
  const begun: ItemList<TableRow<Value>> = baseRev === undefined ? ItemList.EMPTY : before.rows;
  const parsed = changedRows.map(({ key, json, omittedBytes, unreadable, pending, failure }) => {
    return { key, value: JSON.parse(json) as Value, omittedBytes, unreadable, pending, failure };
  });
  const rows = changed(begun, { changes, rows: parsed });
  return rows && Object.freeze({ ...shown, ready: true, failure: undefined, rows });
}

/**
 * The next view of a log; nothing when the update is for another one than this. The value of each new item is parsed here, once, and
 * text is appended to it without parsing it again.
 */
export function nextLog<Value>(before: LogView<Value>, update: LogUpdate): LogView<Value> | undefined {
  const { baseRev, changes, rows, ...shown } = update;
  if (baseRev !== undefined && (!before.ready || baseRev !== before.rev)) return undefined;
  const begun: ItemList<LogItem<Value>> = baseRev === undefined ? ItemList.EMPTY : before.items;
  const parsed = rows.map(({ id, index, json, growing, omittedBytes, unreadable, pending, failure }) => {
    return { id, index, value: JSON.parse(json) as Value, omittedBytes, unreadable, growing, pending, failure };
  });
  const items = changed(begun, { changes, rows: parsed }, grown);
  return items && Object.freeze({ ...shown, ready: true, failure: undefined, items });
}

/** An item with more text. One whose value has no such text stays as it was, as in the library. */
function grown<Value>(item: LogItem<Value>, more: string): LogItem<Value> {
  const { value, growing } = item;
  if (growing === undefined || typeof value !== "object" || value === null || Array.isArray(value)) return item;
  const text = (value as Record<string, unknown>)[growing] ?? "";
  return typeof text === "string" ? { ...item, value: { ...value, [growing]: text + more } } : item;
}

/** The next view of a timeline; nothing when the update is for another one than this. */
export function nextTimeline(before: TimelineView, update: TimelineUpdate): TimelineView | undefined {
  const { baseRev, changes, rows, pending, failed, ...shown } = update;
  if (baseRev !== undefined && baseRev !== before.rev) return undefined;
  const begun = baseRev === undefined ? NO_TIMELINE : before;
  const items = changed(begun.items, update, (item, more) => ({ ...item, text: item.text + more }));
  return (
    items &&
    Object.freeze({
      ...shown,
      items,
      pending: pending ? Object.freeze(pending) : begun.pending,
      failed: failed ? Object.freeze(failed) : begun.failed,
    })
  );
}

/** The next view of a screen; nothing when the update is for another one than this. */
export function nextScreen(before: ScreenView, update: ScreenUpdate): ScreenView | undefined {
  const { timeline: change, ...shown } = update;
  // An update of the screen alone leaves the timeline the value that it is.
  const same = change.baseRev === change.rev && change.rev === before.timeline.rev && change.changes.length === 0;
  const timeline = same && !change.pending && !change.failed ? before.timeline : nextTimeline(before.timeline, change);
  return timeline && Object.freeze({ ...shown, ready: true, failure: undefined, timeline });
}
