/** A service's table in an app, with a real daemon that has one: `daemon/examples/voxel.rs` (LD-2). */
import { expect, it } from "vitest";
import { OutcomeKind, TableState } from "@bowline/runtime";
import { castle } from "./support/castle.js";
import { shown } from "./support/waiting.js";
import { DIRECT } from "./support/world.js";

interface Project {
  plan: { name: string; size: number[] };
  layers: { name: string; voxels: number }[];
}

it("LD-2: a row is live, stays over a cut, and a refusal says why", async () => {
  const { world, bowline, serverId, project, run, send } = await castle();

  const table = bowline.table<Project>(serverId, "voxel.projects", { project });
  expect(bowline.table(serverId, "voxel.projects", { project })).toBe(table);
  const first = await shown("its row", table, ({ state }) => state === TableState.Ready);
  expect(first.rows.map(({ key, value }) => [key, value.plan.name, value.layers])).toEqual([[project, "castle", []]]);
  const end = table.subscribe(() => {});
  await run("voxel.add_layer", { layer: "walls" });
  await shown("the layer", table, ({ rows }) => rows.at(0)?.value.layers[0]?.name === "walls");

  await world.cut(DIRECT);
  const away = await shown("it may be outdated", table, ({ state }) => state === TableState.Stale);
  expect(away.rows.length).toBe(1);
  expect(await send("voxel.add_layer", { layer: "roof" })).not.toBe("");
  await world.heal(DIRECT);
  const again = await shown("both layers", table, ({ state, rows }) => state === TableState.Ready && rows.at(0)?.value.layers.length === 2);
  expect(again.rows.at(0)?.value.layers.map(({ name }) => name)).toEqual(["walls", "roof"]);
  end();

  const nothing = bowline.table(serverId, "voxel.nothing");
  const refused = await shown("it is refused", nothing, ({ state }) => state === TableState.Refused);
  expect(refused.error?.kind).toBe("notFound");
});

it("LD-3: a change is shown at once, also while the host is away, and a refused one says why", async () => {
  const { world, bowline, serverId, project } = await castle();
  const table = bowline.table<Project>(serverId, "voxel.projects", { project });
  const end = table.subscribe(() => {});
  await shown("its row", table, ({ state }) => state === TableState.Ready);

  await world.cut(DIRECT);
  await shown("it may be outdated", table, ({ state }) => state === TableState.Stale);
  const layers = [{ name: "walls", voxels: 0 }];
  const add = { kind: "custom" as const, method: "voxel.add_layer", params: { project, layer: "walls" } };
  const intentId = await bowline.send(serverId, add, (show) => show.merge("voxel.projects", { project }, project, { layers }));
  const away = await shown("the layer", table, ({ rows }) => rows.at(0)?.pending === true);
  expect(away.rows.at(0)?.value.layers).toEqual(layers);
  expect(away.rows.at(0)?.value.plan.name).toBe("castle");
  await world.heal(DIRECT);
  const there = await shown("it is the daemon's", table, ({ rows }) => rows.at(0)?.pending === false);
  expect(there.rows.at(0)?.value.layers.map(({ name }) => name)).toEqual(["walls"]);
  expect((await bowline.outcome(serverId, intentId))?.kind).toBe(OutcomeKind.Done);

  const nothing = { kind: "custom" as const, method: "voxel.add_layer", params: { project: "none", layer: "walls" } };
  const refusedId = await bowline.send(serverId, nothing, (show) => show.remove("voxel.projects", { project }, project));
  const refused = await bowline.outcome(serverId, refusedId);
  expect(refused?.kind).toBe(OutcomeKind.Refused);
  const failed = await shown("it says why", table, ({ rows }) => rows.at(0)?.failure !== undefined);
  expect(failed.rows.at(0)?.failure).toMatchObject({ intentId: refusedId, reason: { kind: "refused" } });
  expect(failed.rows.at(0)?.failure?.reason).toMatchObject({ detail: refused?.detail });
  await bowline.dismiss(serverId, refusedId);
  await shown("it is as before", table, ({ rows }) => rows.at(0)?.failure === undefined && rows.length === 1);
  end();

  const many = bowline.send(serverId, add, (show) => {
    for (let n = 0; n < 65; n++) show.remove("voxel.projects", { project }, `${n}`);
  });
  await expect(many).rejects.toMatchObject({ kind: "InvalidIntent" });
  expect(await bowline.outcome(serverId, "00000000-0000-0000-0000-000000000000")).toBeUndefined();
});
