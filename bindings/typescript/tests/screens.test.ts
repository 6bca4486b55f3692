/** What screens and lists show over a user's day, against real daemons and a real relay (UX-1 … UX-4, DS-2). */
import { afterEach, beforeEach, expect, it } from "vitest";
import { type Bowline, Connectivity, HostState, ItemKind, Path } from "@bowline/runtime";
import type { ScreenView } from "@bowline/runtime/bridge";
import { agent, isCalm, online, open, recorded } from "./support/app.js";
import { folder } from "./support/folder.js";
import { shown } from "./support/waiting.js";
import { DIRECT, RELAY, World } from "./support/world.js";

const worlds: World[] = [];
const start = async (): Promise<World> => {
  const world = await World.start();
  worlds.push(world);
  return world;
};
let world: World;

beforeEach(async () => {
  world = await start();
});

afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.end()));
});

const isOnline = (view: ScreenView) => view.connectivity === Connectivity.Online && view.toast === undefined;
const offline = (bowline: Bowline) =>
  shown("it is offline", bowline.hosts, ({ hosts }) => hosts[0] !== undefined && hosts[0].state !== HostState.Online);

/** Opens a screen once more, until it shows what it is to: at no time an overlay or nothing (UX-2). */
async function reopen(bowline: Bowline, serverId: string, agentId: string, fits: (view: ScreenView) => boolean) {
  const screen = bowline.screen(serverId, { agentId });
  const { seen, end } = recorded(screen);
  await shown("it is opened again", screen, (view) => isCalm(view) && fits(view));
  end();
  const spoken = seen.filter((view) => view.ready);
  expect(spoken.length).toBeGreaterThan(0);
  expect(spoken.filter((view) => view.overlay || !isCalm(view))).toEqual([]);
}

it("UX-1, UX-2, UX-4: covered at the first open only, and not after a cut, a path switch or a restart of the daemon", async () => {
  const storageFolder = folder();
  const first = open(storageFolder);
  const { serverId } = await first.pair(await world.offer(DIRECT, RELAY));
  const agentId = await agent(first, serverId, world.ready.folder);
  await first.close();

  // The app is started again, with no way to its host: the history was never loaded in this run.
  await world.cut(DIRECT);
  await world.cut(RELAY);
  const bowline = open(storageFolder);
  const screen = bowline.screen(serverId, { agentId });
  const { seen, end } = recorded(screen);
  await shown("it is covered", screen, (view) => view.overlay);
  await world.heal(DIRECT);
  await shown("it is loaded", screen, (view) => view.timeline.loaded && !view.overlay && isCalm(view));
  const covered = seen.filter((view) => view.ready && !view.timeline.loaded);
  expect(covered.length).toBeGreaterThan(0);
  expect(covered.filter((view) => view.toast !== undefined || view.placeholder)).toEqual([]);
  const loaded = seen.findIndex((view) => view.timeline.loaded && isCalm(view));

  await reopen(bowline, serverId, agentId, () => true);
  await world.heal(RELAY);
  await world.cut(DIRECT);
  await online(bowline, Path.Relay);
  await reopen(bowline, serverId, agentId, isOnline);
  await world.order({ do: "kill_daemon" });
  await reopen(bowline, serverId, agentId, (view) => view.connectivity !== Connectivity.Online);
  // It says that it is behind, while nothing can change that.
  await shown("it is behind", screen, (view) => view.toast !== undefined || view.errorIndicator !== undefined);
  await world.heal(DIRECT);
  await world.order({ do: "start_daemon" });
  await reopen(bowline, serverId, agentId, isOnline);

  await shown("it is up to date", screen, (view) => isOnline(view) && isCalm(view));
  end();
  const after = seen.slice(loaded);
  expect(after.filter((view) => view.overlay || !isCalm(view))).toEqual([]);
  expect((await world.sessions()).length).toBe(1);
  await bowline.close();
});

it("UX-3: a message is shown at once, reconciled by its intent, and rolled back where it is refused", async () => {
  const bowline = open(folder());
  const { serverId } = await bowline.pair(await world.offer(DIRECT));
  const agentId = await agent(bowline, serverId, world.ready.folder);
  const screen = bowline.screen(serverId, { agentId });
  const { seen, end } = recorded(screen);
  await shown("it is loaded", screen, (view) => view.timeline.loaded && isCalm(view));

  // Held back, so that what is optimistic is seen.
  await world.cut(DIRECT);
  await offline(bowline);
  const taken = await bowline.send(serverId, { kind: "sendPrompt", agentId, text: "taken" });
  const pending = (view: ScreenView) => view.timeline.pending.filter((message) => message.intentId === taken).length;
  const items = (view: ScreenView) =>
    view.timeline.items.toArray().filter((item) => item.intentId === taken && item.kind === ItemKind.User).length;
  await shown("it is pending", screen, (view) => pending(view) === 1);
  await world.heal(DIRECT);
  await shown("it is an item", screen, (view) => isCalm(view) && items(view) === 1);
  const since = seen.slice(seen.findIndex((view) => pending(view) > 0));
  expect(since.filter((view) => pending(view) + items(view) !== 1)).toEqual([]);

  // The daemon takes no prompts for an agent that is archived.
  await world.cut(DIRECT);
  await offline(bowline);
  await bowline.send(serverId, { kind: "archive", agentId });
  const refused = await bowline.send(serverId, { kind: "sendPrompt", agentId, text: "refused" });
  await shown("it is pending", screen, ({ timeline }) => timeline.pending.some((message) => message.intentId === refused));
  await world.heal(DIRECT);
  const rolled = await shown("it is rolled back", screen, ({ timeline }) => timeline.failed.length === 1);
  expect(rolled.timeline.failed.map((message) => message.intentId)).toEqual([refused]);
  expect(rolled.timeline.pending.length).toBe(0);
  expect(rolled.timeline.failed[0]!.failure.kind).toBe("refused");
  await bowline.dismiss(serverId, refused);
  await shown("it is dismissed", screen, ({ timeline }) => timeline.failed.length === 0);
  end();
  await bowline.close();
});

it("DS-2: agents of two hosts are one list, and one host that is away takes nothing from it", async () => {
  const other = await start();
  const bowline = open(folder());
  const servers: string[] = [];
  const agents: string[] = [];
  for (const of of [world, other]) {
    const { serverId } = await bowline.pair(await of.offer(DIRECT));
    servers.push(serverId);
    agents.push(await agent(bowline, serverId, world.ready.folder));
  }
  const both = await shown("both", bowline.directory, ({ rows }) => rows.filter((row) => row.agent).length === 2);
  expect(both.rows.map((row) => [row.serverId, row.agent!.id])).toEqual([
    [servers[0], agents[0]],
    [servers[1], agents[1]],
  ]);
  await other.cut(DIRECT);
  await shown("one is away", bowline.hosts, ({ hosts }) =>
    hosts.some((host) => host.serverId === servers[1] && host.state !== HostState.Online),
  );
  await bowline.refresh();
  const still = bowline.directory.getSnapshot();
  expect(still.loading).toBe(false);
  expect(still.rows.map((row) => row.agent?.id)).toEqual(agents);
  await bowline.close();
});
