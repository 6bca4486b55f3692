/** Updates become views: rows keep their identity, older revisions are dropped, what does not fit is asked for anew. */
import { describe, expect, it } from "vitest";
import type { DirectoryUpdate, HostsSnapshot, LogUpdate, TableUpdate, TimelineUpdate } from "../packages/runtime/src/shapes.js";
import { shaped } from "../packages/runtime/src/shapes.js";
import {
  isOlder,
  NO_DIRECTORY,
  NO_HOSTS,
  NO_LOG,
  NO_TABLE,
  NO_TIMELINE,
  nextDirectory,
  nextHosts,
  nextLog,
  nextTable,
  nextTimeline,
  rowOf,
  type DirectoryView,
  type LogView,
  type TableView,
  type TimelineView,
} from "../packages/runtime/src/views.js";
import { type ListCase, listCases, type Step } from "./support/cases.js";

const host = (serverId: string, rev: number) => ({ serverId, rev, name: serverId }) as HostsSnapshot["hosts"][number];
const row = (key: string, text = "") => ({ key, serverId: text }) as DirectoryUpdate["rows"][number];
const change = (kind: string, rest: object) => ({ kind, ...rest }) as never;
const item = (id: string) => ({ id, text: id }) as never;

const directory = (update: Partial<DirectoryUpdate>): DirectoryUpdate => ({
  baseRev: undefined,
  rev: 1,
  changes: [],
  rows: [],
  loading: false,
  hosts: [],
  ...update,
});

const timeline = (update: Partial<TimelineUpdate>): TimelineUpdate =>
  ({ rev: 1, changes: [], rows: [], loaded: true, catchingUp: false, replaced: 0, ...update }) as TimelineUpdate;

describe("views", () => {
  it("a union of the library is { kind, … } however deep it is, and what has none is the same object", () => {
    const failed = { tag: "Failed", inner: { error: { tag: "Rejected", inner: { refusal: 4 } } } };
    const bytes = new Uint8Array([1]);
    const item = Object.freeze({ at: new Date(7), text: "tag", bytes });
    const given = Object.freeze({ more: failed, rows: Object.freeze([item, { error: { tag: "NotFound" } }]), rev: 1 });
    const got = shaped(given) as unknown as { rows: unknown[] };
    expect(got).toEqual({
      more: { kind: "failed", error: { kind: "rejected", refusal: 4 } },
      rows: [item, { error: { kind: "notFound" } }],
      rev: 1,
    });
    expect(got.rows[0]).toBe(item);
    expect(shaped(item)).toBe(item);
    expect([shaped(undefined), shaped(null), shaped("tag"), shaped(bytes)]).toEqual([undefined, null, "tag", bytes]);
  });

  it("a row is found by its key, in the order of keys that the library has", () => {
    const keys = ["", "a", "a/b", "a/b/c", "ab", "b", "\u{ffee}", "\u{1f3f0}", "\u{1f3f0}x"];
    const rows = keys.map((key) => ({ key, json: JSON.stringify(key), omittedBytes: undefined, unreadable: false, pending: false, failure: undefined }));
    const update = { rev: 1, changes: [change("insert", { at: 0, count: rows.length })], rows, truncated: false };
    const table = nextTable<string>(NO_TABLE, update as unknown as TableUpdate)!;
    for (const key of keys) expect(rowOf(table, key)?.value).toBe(key);
    for (const key of ["A", "a/", "aa", "\u{1f3f0}y"]) expect(rowOf(table, key)).toBeUndefined();
  });

  it("hosts that did not change stay the same objects, and nothing can be written into them", () => {
    const first = nextHosts(NO_HOSTS, { rev: 1, hosts: [host("a", 1), host("b", 1)], pairings: [] });
    const second = nextHosts(first, { rev: 2, hosts: [host("a", 1), host("b", 2)], pairings: [] });
    expect(second.hosts[0]).toBe(first.hosts[0]);
    expect(second.hosts[1]).not.toBe(first.hosts[1]);
    expect(Object.isFrozen(second) && Object.isFrozen(second.hosts) && Object.isFrozen(second.hosts[0])).toBe(true);
  });

  it("an older revision changes nothing, also where revisions wrap", () => {
    const newest = nextHosts(NO_HOSTS, { rev: 5, hosts: [], pairings: [] });
    expect(nextHosts(newest, { rev: 4, hosts: [host("a", 1)], pairings: [] })).toBe(newest);
    expect(isOlder(0xffff_ffff, 0)).toBe(true);
    expect(isOlder(0, 0xffff_ffff)).toBe(false);
  });

  it("a directory takes changes in their order, and its rows stay the same objects", () => {
    const insert = change("insert", { at: 0, count: 3 });
    const first = nextDirectory(NO_DIRECTORY, directory({ changes: [insert], rows: [row("a"), row("b"), row("c")] }))!;
    const changes = [
      change("remove", { at: 1, count: 1 }),
      change("insert", { at: 0, count: 1 }),
      change("update", { at: 1 }),
      change("insert", { at: 3, count: 1 }),
    ];
    const rows = [row("d"), row("A"), row("e")];
    const second = nextDirectory(first, directory({ baseRev: 1, rev: 2, changes, rows }))!;
    expect(second.rows.map((row) => row.key)).toEqual(["d", "A", "c", "e"]);
    expect(second.rows[2]).toBe(first.rows[2]);
    expect(second.rows.every(Object.isFrozen)).toBe(true);
    expect(nextDirectory(second, directory({ baseRev: 1, rev: 3 }))).toBeUndefined();
    const same = nextDirectory(second, directory({ baseRev: 2, rev: 3 }))!;
    expect(same.rows).toBe(second.rows);
    expect(nextDirectory(second, directory({ rev: 9, changes: [insert], rows }))!.rows.length).toBe(3);
  });

  it("LD-4: a table parses the rows that changed and no others, and takes a reset", () => {
    const row = (key: string, json: string) => ({ key, json, omittedBytes: undefined, unreadable: false, pending: false, failure: undefined });
    const table = (update: Partial<TableUpdate>) => ({ rev: 1, changes: [], rows: [], ...update }) as TableUpdate;
    const insert = change("insert", { at: 0, count: 2 });
    const first = nextTable<number>(NO_TABLE, table({ changes: [insert], rows: [row("a", "1"), row("b", "2")] }))!;
    const changes = [change("update", { at: 1 }), change("insert", { at: 2, count: 1 })];
    const second = nextTable(first, table({ baseRev: 1, rev: 2, changes, rows: [row("b", "3"), row("c", "4")] }))!;
    expect(second.rows.map(({ key, value }) => `${key}=${value}`)).toEqual(["a=1", "b=3", "c=4"]);
    expect(second.rows.at(0)).toBe(first.rows.at(0));
    expect(second.rows.toArray().every(Object.isFrozen)).toBe(true);
    expect(nextTable(second, table({ baseRev: 1, rev: 3 }))).toBeUndefined();
    expect(nextTable(NO_TABLE, table({ baseRev: 1, rev: 2 }))).toBeUndefined();
    expect(nextTable(second, table({ rev: 9 }))!.rows.length).toBe(0);
  });

  it("LD-4: a log parses each item once, and text is appended without parsing again", () => {
    const row = (index: number, json: string, growing?: string) => {
      const rest = { omittedBytes: undefined, unreadable: false, pending: false, failure: undefined };
      return { id: `${index}`, index, json, growing, ...rest };
    };
    const log = (update: Partial<LogUpdate>) => ({ rev: 1, changes: [], rows: [], ...update }) as LogUpdate;
    type Note = { n: number; text?: string; tags?: string[] };
    const insert = change("insert", { at: 0, count: 2 });
    const rows = [row(4, '{"n":1,"text":"a"}', "text"), row(5, '{"n":2,"tags":["x"]}', "text")];
    const first = nextLog<Note>(NO_LOG, log({ changes: [insert], rows }))!;
    const grow = [change("grow", { at: 1, text: "\n\"b" }), change("grow", { at: 1, text: "c" })];
    const second = nextLog(first, log({ baseRev: 1, rev: 2, changes: grow }))!;
    expect(second.items.map(({ index, value }) => [index, value])).toEqual([
      [4, { n: 1, text: "a" }],
      [5, { n: 2, tags: ["x"], text: '\n"bc' }],
    ]);
    expect(second.items.at(0)).toBe(first.items.at(0));
    expect(second.items.at(1)?.value.tags).toBe(first.items.at(1)?.value.tags);
    expect(second.items.toArray().every(Object.isFrozen)).toBe(true);
    const none = nextLog<unknown>(NO_LOG, log({ changes: [insert], rows: [row(0, "[7]", "text"), row(1, '{"text":7}', "text")] }))!;
    const kept = nextLog(none, log({ baseRev: 1, rev: 2, changes: [change("grow", { at: 0, text: "x" }), change("grow", { at: 1, text: "x" })] }))!;
    expect(kept.items.map(({ value }) => value)).toEqual([[7], { text: 7 }]);
    expect(nextLog(second, log({ baseRev: 1, rev: 3 }))).toBeUndefined();
    expect(nextLog(second, log({ rev: 9 }))!.items.length).toBe(0);
  });

  it("a timeline takes changes in their order, and a reset", () => {
    const changes = [change("insert", { at: 0, count: 3 })];
    const first = nextTimeline(NO_TIMELINE, timeline({ changes, rows: [item("a"), item("b"), item("c")] }))!;
    const second = nextTimeline(
      first,
      timeline({
        baseRev: 1,
        rev: 2,
        changes: [
          change("remove", { at: 0, count: 1 }),
          change("grow", { at: 1, text: "+" }),
          change("update", { at: 0 }),
          change("insert", { at: 2, count: 1 }),
        ],
        rows: [item("B"), item("d")],
        replaced: 7,
      }),
    )!;
    expect(second.items.map((item) => item.text)).toEqual(["B", "c+", "d"]);
    expect(second.replaced).toBe(7);
    expect(first.items.map((item) => item.text)).toEqual(["a", "b", "c"]);
    expect(nextTimeline(second, timeline({ baseRev: 1, rev: 3 }))).toBeUndefined();
    expect(nextTimeline(second, timeline({ rev: 9 }))!.items.length).toBe(0);
  });
});

describe("the cases of all languages", () => {
  const check = <View>(cases: ListCase[], none: View, next: (view: View, step: Step) => View | undefined, shown: (view: View) => string[]) => {
    expect(cases.length).toBeGreaterThan(6);
    for (const { name, steps } of cases) {
      let view = none;
      for (const step of steps) {
        const after = next(view, step);
        expect(after && shown(after), `${name}, revision ${step.rev}`).toEqual(step.shows);
        view = after ?? view;
      }
    }
  };

  it("a timeline makes of changes what the others make of them", () => {
    const next = (view: TimelineView, { base, rev, changes, rows }: Step) =>
      nextTimeline(view, timeline({ baseRev: base, rev, changes, rows: rows.map(item) }));
    check(listCases("growing"), NO_TIMELINE, next, ({ items }) => items.map(({ text }) => text));
  });

  it("a log makes of changes what the others make of them", () => {
    const next = (view: LogView<{ text: string }>, { base, rev, changes, rows }: Step) => {
      const raw = rows.map((text, index) => ({ index, json: JSON.stringify({ text }), growing: "text", unreadable: false }));
      return nextLog<{ text: string }>(view, { baseRev: base, rev, changes, rows: raw } as unknown as LogUpdate);
    };
    check<LogView<{ text: string }>>(listCases("growing"), NO_LOG, next, ({ items }) => items.map(({ value }) => value.text));
  });

  it("a directory makes of changes what the others make of them", () => {
    const next = (view: DirectoryView, { base, rev, changes, rows }: Step) =>
      nextDirectory(view, directory({ baseRev: base, rev, changes, rows: rows.map((key) => row(key)) }));
    check(listCases("fixed"), NO_DIRECTORY, next, ({ rows }) => rows.map(({ key }) => key));
  });

  it("a table makes of changes what the others make of them", () => {
    const next = (view: TableView<string>, { base, rev, changes, rows }: Step) => {
      const raw = rows.map((key) => ({ key, json: JSON.stringify(key), pending: false }));
      return nextTable<string>(view, { baseRev: base, rev, changes, rows: raw } as unknown as TableUpdate);
    };
    check<TableView<string>>(listCases("fixed"), NO_TABLE, next, ({ rows }) => rows.map(({ value }) => value));
  });
});
