/** Updates become views: rows keep their identity, older revisions are dropped, what does not fit is asked for anew. */
import { describe, expect, it } from "vitest";
import type { DirectoryUpdate, HostsSnapshot, TimelineUpdate } from "../packages/runtime/src/generated/bowline.js";
import {
  isOlder,
  NO_DIRECTORY,
  NO_HOSTS,
  NO_TIMELINE,
  nextDirectory,
  nextHosts,
  nextTimeline,
} from "../packages/runtime/src/views.js";

const host = (serverId: string, rev: number) => ({ serverId, rev, name: serverId }) as HostsSnapshot["hosts"][number];
const row = (key: string, text = "") => ({ key, serverId: text }) as DirectoryUpdate["upserts"][number];
const item = (id: string) => ({ id, text: id }) as never;

const directory = (update: Partial<DirectoryUpdate>): DirectoryUpdate => ({
  baseRev: undefined,
  rev: 1,
  removed: [],
  upserts: [],
  order: undefined,
  loading: false,
  hosts: [],
  ...update,
});

const timeline = (update: Partial<TimelineUpdate>): TimelineUpdate =>
  ({ rev: 1, changes: [], loaded: true, catchingUp: false, replaced: 0, ...update }) as TimelineUpdate;

describe("views", () => {
  it("hosts that did not change stay the same objects, and nothing can be written into them", () => {
    const first = nextHosts(NO_HOSTS, { rev: 1, hosts: [host("a", 1), host("b", 1)] });
    const second = nextHosts(first, { rev: 2, hosts: [host("a", 1), host("b", 2)] });
    expect(second.hosts[0]).toBe(first.hosts[0]);
    expect(second.hosts[1]).not.toBe(first.hosts[1]);
    expect(Object.isFrozen(second) && Object.isFrozen(second.hosts) && Object.isFrozen(second.hosts[0])).toBe(true);
  });

  it("an older revision changes nothing, also where revisions wrap", () => {
    const newest = nextHosts(NO_HOSTS, { rev: 5, hosts: [] });
    expect(nextHosts(newest, { rev: 4, hosts: [host("a", 1)] })).toBe(newest);
    expect(isOlder(0xffff_ffff, 0)).toBe(true);
    expect(isOlder(0, 0xffff_ffff)).toBe(false);
  });

  it("a directory takes removals, rows and order", () => {
    const first = nextDirectory(NO_DIRECTORY, directory({ upserts: [row("a"), row("b"), row("c")] }))!;
    const second = nextDirectory(first, directory({ baseRev: 1, rev: 2, removed: ["b"], upserts: [row("d")] }))!;
    expect(second.rows.map((row) => row.key)).toEqual(["a", "c", "d"]);
    expect(second.rows[0]).toBe(first.rows[0]);
    const third = nextDirectory(second, directory({ baseRev: 2, rev: 3, order: ["d", "a", "c"] }))!;
    expect(third.rows.map((row) => row.key)).toEqual(["d", "a", "c"]);
    expect(nextDirectory(third, directory({ baseRev: 2, rev: 4 }))).toBeUndefined();
    const same = nextDirectory(third, directory({ baseRev: 3, rev: 4 }))!;
    expect(same.rows).toBe(third.rows);
  });

  it("a timeline takes changes in their order, and a reset", () => {
    const changes = [{ tag: "Insert", inner: { at: 0, items: [item("a"), item("b"), item("c")] } }] as never;
    const first = nextTimeline(NO_TIMELINE, timeline({ changes }))!;
    const second = nextTimeline(
      first,
      timeline({
        baseRev: 1,
        rev: 2,
        changes: [
          { tag: "Remove", inner: { at: 0, count: 1 } },
          { tag: "Grow", inner: { at: 1, text: "+" } },
          { tag: "Update", inner: { at: 0, item: item("B") } },
          { tag: "Insert", inner: { at: 2, items: [item("d")] } },
        ] as never,
      }),
    )!;
    expect(second.items.map((item) => item.text)).toEqual(["B", "c+", "d"]);
    expect(first.items.map((item) => item.text)).toEqual(["a", "b", "c"]);
    expect(nextTimeline(second, timeline({ baseRev: 1, rev: 3 }))).toBeUndefined();
    expect(nextTimeline(second, timeline({ rev: 9 }))!.items.length).toBe(0);
  });
});
