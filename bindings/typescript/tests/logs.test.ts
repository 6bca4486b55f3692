/** A service's log in an app, with a real daemon that has one: `daemon/examples/voxel.rs` (LD-2). */
import { expect, it } from "vitest";
import { OutcomeKind, TableState, valuesOf } from "@bowline/runtime";
import { castle } from "./support/castle.js";
import { shown } from "./support/waiting.js";
import { DIRECT } from "./support/world.js";

interface Note {
  by: string;
  text: string;
}

it("LD-2: a log is a window over its history, its last items grow, it stays over a cut, and a refusal says why", async () => {
  const { world, bowline, serverId, project, send, run } = await castle();
  const notes = await Promise.all(Array.from({ length: 119 }, () => send("voxel.add_note", { by: "ana", text: "old" })));
  await Promise.all(notes.map((intentId) => bowline.outcome(serverId, intentId)));
  await run("voxel.add_note", { by: "ana", text: "A door" });

  const log = bowline.log<Note>(serverId, "voxel.notes", { project });
  expect(bowline.log(serverId, "voxel.notes", { project })).toBe(log);
  const end = log.subscribe(() => {});
  const first = await shown("the newest page", log, ({ state }) => state === TableState.Ready);
  expect(first.items.map(({ index }) => index)).toEqual(Array.from({ length: 100 }, (_, n) => n + 20));
  expect([first.first, first.next, first.older.kind]).toEqual([0, 120, "more"]);
  await run("voxel.extend_note", { index: 119, text: " in the wall" });
  const grown = await shown("it grew", log, ({ items }) => items.at(-1)?.value.text === "A door in the wall");
  expect(grown.items.at(-1)?.value.by).toBe("ana");
  expect(grown.items.at(-2)).toBe(first.items.at(-2));
  await bowline.loadOlderItems(serverId, "voxel.notes", { project });
  const all = await shown("all of it", log, ({ items }) => items.length === 120);
  expect([all.items.at(0)?.index, all.older.kind]).toEqual([0, "none"]);

  await world.cut(DIRECT);
  const away = await shown("it may be outdated", log, ({ state }) => state === TableState.Stale);
  expect(away.items.length).toBe(120);
  await send("voxel.extend_note", { index: 119, text: ", and a bell" });
  await send("voxel.add_note", { by: "ben", text: "A roof" });
  await world.heal(DIRECT);
  for await (const { state, items } of valuesOf(log)) {
    if (state !== TableState.Ready || items.length < 121 || !items.at(-2)?.value.text.endsWith("bell")) continue;
    expect(items.toArray().slice(-2).map(({ value }) => value)).toEqual([
      { by: "ana", text: "A door in the wall, and a bell" },
      { by: "ben", text: "A roof" },
    ]);
    break;
  }
  await bowline.refreshLog(serverId, "voxel.notes", { project });
  end();

  const nothing = bowline.log(serverId, "voxel.nothing");
  const refused = await shown("it is refused", nothing, ({ state }) => state === TableState.Refused);
  expect(refused.error?.kind).toBe("notFound");
  const forgotten = (async () => {
    for await (const { ready } of valuesOf(log)) if (ready) await bowline.forgetHost(serverId);
  })();
  await expect(forgotten).rejects.toMatchObject({ kind: "UnknownHost" });
});

it("LD-3: what an intent is expected to append is shown at once, also while the host is away, and a refused one says why", async () => {
  const { world, bowline, serverId, project, run } = await castle();
  await run("voxel.add_note", { by: "ana", text: "A door" });
  const log = bowline.log<Note>(serverId, "voxel.notes", { project });
  const end = log.subscribe(() => {});
  await shown("its note", log, ({ items }) => items.length === 1);

  await world.cut(DIRECT);
  await shown("it may be outdated", log, ({ state }) => state === TableState.Stale);
  const note = { by: "ana", text: "A roof" };
  const add = { kind: "custom" as const, method: "voxel.add_note", params: { project, ...note } };
  const intentId = await bowline.send(serverId, add, (show) => show.append("voxel.notes", { project }, note));
  const away = await shown("the note", log, ({ items }) => items.length === 2);
  expect(away.items.at(1)).toMatchObject({ id: `${intentId}/0`, index: undefined, value: note, pending: true });
  await world.heal(DIRECT);
  const there = await shown("it is the daemon's", log, ({ items }) => items.at(1)?.pending === false);
  expect(there.items.length).toBe(2);
  expect(there.items.at(1)).toMatchObject({ id: "1", index: 1, value: note, failure: undefined });

  const nothing = { kind: "custom" as const, method: "voxel.extend_note", params: { project, index: 99, text: "!" } };
  const refusedId = await bowline.send(serverId, nothing, (show) => show.append("voxel.notes", { project }, note));
  expect((await bowline.outcome(serverId, refusedId))?.kind).toBe(OutcomeKind.Refused);
  const failed = await shown("it says why", log, ({ items }) => items.at(2)?.failure !== undefined);
  expect(failed.items.at(2)?.failure).toMatchObject({ intentId: refusedId, reason: { kind: "refused" } });
  await bowline.dismiss(serverId, refusedId);
  await shown("it is as before", log, ({ items }) => items.length === 2);
  end();
});
