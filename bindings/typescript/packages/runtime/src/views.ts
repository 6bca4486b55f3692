/**
 * What stores hold, and how updates of the library become it. Rows that did not change keep their identity, so that a
 * view that compares by identity renders what changed and nothing else.
 */
import type {
  DirectoryRow,
  DirectoryUpdate,
  FailedMessage,
  HostDirectory,
  HostSnapshot,
  HostsSnapshot,
  LoadFailure,
  Newer,
  Older,
  PendingMessage,
  ScreenUpdate,
  TimelineItem,
  TimelineUpdate,
} from "./generated/bowline.ts";
import { Connectivity, Creation } from "./generated/enums.ts";
import type { Target } from "./client.ts";
import { ItemList } from "./list.ts";
import type { Kept } from "./store.ts";

/** All hosts. */
export interface HostsView extends Kept {
  /** Grows with every change. */
  readonly rev: number;
  /** Whether the library has spoken yet. */
  readonly ready: boolean;
  /** Every known host. */
  readonly hosts: readonly HostSnapshot[];
}

/** The agents of all hosts in one list. */
export interface DirectoryView extends Kept {
  /** Grows with every change. */
  readonly rev: number;
  /** Whether the library has spoken yet. */
  readonly ready: boolean;
  /** Show a skeleton. */
  readonly loading: boolean;
  /** Oldest first; agents on their way stand at the end. */
  readonly rows: readonly DirectoryRow[];
  /** How each host's part stands. */
  readonly hosts: readonly HostDirectory[];
}

/** One agent's timeline. */
export interface TimelineView {
  /** Grows with every change. */
  readonly rev: number;
  /** The newest items, without gaps. */
  readonly items: ItemList<TimelineItem>;
  /** Messages on their way: shown after the items, with a mark (UX-3). */
  readonly pending: readonly PendingMessage[];
  /** Messages that were not taken, with the error, until dismissed. */
  readonly failed: readonly FailedMessage[];
  /** Whether a load ever succeeded (UX-1). */
  readonly loaded: boolean;
  /** Whether it is being brought up to date (UX-2). */
  readonly catchingUp: boolean;
  /** What is before the first item. */
  readonly older: Older | undefined;
  /** What is after the last item: a view that grew too long at its beginning has lost rows at its end. */
  readonly newer: Newer | undefined;
  /** Why it is not up to date (UX-4). */
  readonly error: LoadFailure | undefined;
}

/** Everything an agent's screen shows. What to show is decided in the library (UX-1 … UX-4). */
export interface ScreenView extends Kept, Readonly<Omit<ScreenUpdate, "timeline">> {
  /** Whether the library has spoken yet. */
  readonly ready: boolean;
  /** The timeline. */
  readonly timeline: TimelineView;
}

export const NO_HOSTS: HostsView = Object.freeze({ rev: 0, ready: false, failure: undefined, hosts: Object.freeze([]) });

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
  older: undefined,
  newer: undefined,
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
  return Object.freeze({ rev: update.rev, ready: true, failure: undefined, hosts: Object.freeze(hosts) });
}

/** The next view of the list; nothing when the update is for another one than this, which is then asked for anew. */
export function nextDirectory(before: DirectoryView, update: DirectoryUpdate): DirectoryView | undefined {
  const rows = new Map<string, DirectoryRow>();
  if (update.baseRev !== undefined) {
    if (!before.ready || update.baseRev !== before.rev) return undefined;
    for (const row of before.rows) rows.set(row.key, row);
  }
  for (const key of update.removed) rows.delete(key);
  for (const row of update.upserts) rows.set(row.key, Object.freeze(row));
  const ordered = update.order?.map((key) => rows.get(key)) ?? [...rows.values()];
  const unchanged = update.removed.length + update.upserts.length === 0 && !update.order && update.baseRev !== undefined;
  return Object.freeze({
    rev: update.rev,
    ready: true,
    failure: undefined,
    loading: update.loading,
    rows: unchanged ? before.rows : Object.freeze(ordered.filter((row) => row !== undefined)),
    hosts: Object.freeze(update.hosts),
  });
}

/** The next view of a timeline; nothing when the update is for another one than this. */
export function nextTimeline(before: TimelineView, update: TimelineUpdate): TimelineView | undefined {
  if (update.baseRev !== undefined && update.baseRev !== before.rev) return undefined;
  const begun = update.baseRev === undefined ? NO_TIMELINE : before;
  let items = begun.items;
  for (const change of update.changes) {
    // By name: the classes of the generated code are not there on the far side of a bridge.
    switch (change.tag as string) {
      case "Remove": {
        const { at, count } = change.inner as { at: number; count: number };
        items = items.splice(at, count, []);
        break;
      }
      case "Insert": {
        const { at, items: added } = change.inner as { at: number; items: TimelineItem[] };
        for (const item of added) Object.freeze(item);
        items = items.splice(at, 0, added);
        break;
      }
      case "Update": {
        const { at, item } = change.inner as { at: number; item: TimelineItem };
        items = items.with(at, Object.freeze(item));
        break;
      }
      case "Grow": {
        const { at, text } = change.inner as { at: number; text: string };
        const old = items.at(at);
        if (old) items = items.with(at, Object.freeze({ ...old, text: old.text + text }));
        break;
      }
    }
  }
  return Object.freeze({
    rev: update.rev,
    items,
    pending: update.pending ? Object.freeze(update.pending) : begun.pending,
    failed: update.failed ? Object.freeze(update.failed) : begun.failed,
    loaded: update.loaded,
    catchingUp: update.catchingUp,
    older: update.older,
    newer: update.newer,
    error: update.error,
  });
}

/** The next view of a screen; nothing when the update is for another one than this. */
export function nextScreen(before: ScreenView, update: ScreenUpdate): ScreenView | undefined {
  const { timeline: change, ...shown } = update;
  // An update of the screen alone leaves the timeline the value that it is.
  const same = change.baseRev === change.rev && change.rev === before.timeline.rev && change.changes.length === 0;
  const timeline = same && !change.pending && !change.failed ? before.timeline : nextTimeline(before.timeline, change);
  return timeline && Object.freeze({ ...shown, ready: true, failure: undefined, timeline });
}
