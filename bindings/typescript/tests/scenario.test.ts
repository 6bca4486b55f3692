/**
 * The whole line against a real daemon: pair, attach, run, cut the path, go on over the other one, restart the app, find
 * the same session and the same timeline (INV-1, INV-2, INV-6, BX-1, UX-1 … UX-3).
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bowline, HostState, openBowline, serveBridge, TurnStatus } from "@bowline/runtime";
import { connectBridge } from "@bowline/runtime/bridge";
import type { ScreenView } from "@bowline/runtime";
import { World } from "./support/world.js";
import { shown } from "./support/waiting.js";

let world: World;
let storageFolder: string;

const open = (): Bowline => openBowline({ storageFolder, appName: "tests", appVersion: "1" });
const profile = () => readFileSync(join(storageFolder, "profile.json"), "utf8");
const text = (view: ScreenView) => view.timeline.items.map((item) => item.text).join("");
const ended = (view: ScreenView) => view.timeline.items.map((item) => item.status).filter((status) => status !== undefined);
const online = (bowline: Bowline, address?: string) =>
  shown("the host is online", bowline.hosts, ({ hosts }) =>
    hosts.some((host) => host.state === HostState.Online && (address === undefined || host.address === address)),
  );

/** Which sessions the daemon holds, and since when. */
async function sessions(): Promise<[string, number][]> {
  const said = (await world.order({ do: "sessions" }))["sessions"] as {
    externalSessionKey: string;
    createdAt: number;
  }[];
  expect(said.length).toBe(1);
  return said.map(({ externalSessionKey, createdAt }) => [externalSessionKey, createdAt]);
}

beforeAll(async () => {
  storageFolder = mkdtempSync(join(tmpdir(), "bowline-ts-"));
  world = await World.start();
});

afterAll(async () => {
  await world?.end();
  rmSync(storageFolder, { recursive: true, force: true });
});

it("pair → attach → run → cut → resume on the other path → restart → same session, same timeline", async () => {
  const first = open();
  const paired = await first.pair(await world.offer());
  const { hosts } = await online(first);
  expect(hosts[0]!.serverId).toBe(paired.serverId);
  expect((await first.providers(paired.serverId)).map((provider) => provider.name)).toContain("stream");

  // UX-3: shown at once, without an overlay, before the daemon has named the agent.
  const intentId = await first.send(paired.serverId, {
    kind: "createAgent",
    provider: "stream",
    cwd: storageFolder,
    prompt: "100",
  });
  const creation = first.screen(paired.serverId, { intentId });
  const seen: boolean[] = [];
  const look = creation.subscribe(() => seen.push(creation.getSnapshot().overlay));
  const running = await shown("output comes", creation, (view) => view.agentId !== undefined && text(view).includes("\n"));
  const agentId = running.agentId!;

  // The path that is in use breaks in the middle of the output; the rest comes over the other one.
  const used = first.hosts.getSnapshot().hosts[0] ?? (await online(first)).hosts[0]!;
  const broken = world.ready.paths.indexOf(used.address!);
  await world.order({ do: "cut", path: broken });
  const done = await shown("the turn ends", creation, (view) => ended(view).length === 1);
  expect(ended(done)).toEqual([TurnStatus.Completed]);
  expect(seen.every((overlay) => !overlay)).toBe(true);
  look();
  const { hosts: after } = await online(first, world.ready.paths[1 - broken]);
  expect(after[0]!.generation).toBeGreaterThan(0);
  const lines = Array.from({ length: 100 }, (_, n) => `line ${n + 1}\n`);
  expect(text(done)).toBe(`100${lines.join("")}`);

  // A second screen in a process that cannot load the library shows the same.
  const { port1, port2 } = new MessageChannel();
  const stop = serveBridge(first, port1);
  const far = connectBridge(port2);
  const bridged = await shown("the far side", far.screen(paired.serverId, { agentId }), (view) => view.timeline.loaded);
  expect(text(bridged)).toBe(text(done));
  await expect(far.send("nobody", { kind: "cancel", agentId })).rejects.toMatchObject({ kind: "InvalidIdentity" });
  far.close();
  stop();

  const identity = profile();
  const before = await sessions();
  await first.close();

  // The app is started again, with what is on disk.
  const second = open();
  expect(profile()).toBe(identity);
  await online(second);
  const reopened = second.screen(paired.serverId, { agentId });
  expect(reopened.getSnapshot().overlay).toBe(true);
  const again = await shown("the timeline", reopened, (view) => !view.overlay && view.timeline.loaded);
  expect(again.timeline.items.map((item) => item.id)).toEqual(done.timeline.items.map((item) => item.id));
  expect(text(again)).toBe(text(done));
  expect(await sessions()).toEqual(before);
  const { rows } = await shown("the directory", second.directory, (view) => view.rows.length > 0);
  expect(rows.map((row) => row.agent?.id)).toEqual([agentId]);

  // BX-1: what is sent while every path is cut is done once, when one is there again.
  await world.order({ do: "cut", path: 0 });
  await world.order({ do: "cut", path: 1 });
  const prompt = await second.send(paired.serverId, { kind: "sendPrompt", agentId, text: "3" });
  const pending = await shown("it is shown at once", reopened, (view) =>
    view.timeline.pending.some((message) => message.intentId === prompt),
  );
  expect(pending.overlay).toBe(false);
  await world.order({ do: "heal", path: 0 });
  await world.order({ do: "heal", path: 1 });
  const twice = await shown("the second turn ends", reopened, (view) => ended(view).length === 2);
  expect(twice.timeline.items.toArray().filter((item) => item.intentId === prompt && item.status === undefined).length).toBe(1);
  expect(twice.timeline.pending.length).toBe(0);
  expect(await second.forgetHost(paired.serverId)).toBe(true);
  await shown("no host", second.hosts, ({ hosts }) => hosts.length === 0);
  await second.close();
});
