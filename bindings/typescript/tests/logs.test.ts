/** A service's log in an app, with a real daemon that has one: `daemon/examples/voxel.rs` (LD-2). */
import { expect, it } from "vitest";
import { TableState, valuesOf } from "@bowline/runtime";
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
