/**
 * The whole line against the real daemon and the real relay: pair, attach, run, cut the direct path, go on over the relay, restart
 * the app, find the same session and the same timeline (INV-1, INV-2, INV-6, BX-1, UX-1 … UX-3).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Advice,
  Creation,
  HostState,
  ItemKind,
  Path,
  serveBridge,
  TurnStatus,
} from "@bowline/runtime";
import { connectBridge } from "@bowline/runtime/bridge";
import { ended, online, open, output, recorded } from "./support/app.js";
import { folder } from "./support/folder.js";
import { DIRECT, RELAY, World } from "./support/world.js";
import { shown } from "./support/waiting.js";

let world: World;

beforeAll(async () => {
  world = await World.start();
});

afterAll(async () => world?.end());

it("BX-5, INV-2: pair → attach → run → cut → resume on the relay → restart → same session, same timeline", async () => {
  const storageFolder = folder();
  const profile = () => readFileSync(join(storageFolder, "profile.json"), "utf8");
  const first = open(storageFolder);
  const { serverId } = await first.pair(await world.offer(DIRECT, RELAY));
  const direct = await online(first, Path.Direct);
  expect(direct.serverId).toBe(serverId);
  expect((await first.providers(serverId)).map((provider) => provider.name)).toContain("stream");
  expect(await first.query(serverId, "system.info")).toMatchObject({ serverId });
  await expect(first.query(serverId, "agents.list", { limit: "all" })).rejects.toMatchObject({ kind: "Rejected" });

  // UX-3: shown at once, without an overlay, before the daemon has named the agent; held back, so that this is seen.
  await world.cut(DIRECT);
  await world.cut(RELAY);
  await shown("it is not online", first.hosts, ({ hosts }) => hosts[0]!.state !== HostState.Online);
  const intentId = await first.send(serverId, { kind: "createAgent", provider: "stream", cwd: storageFolder, prompt: "150" });
  const creation = first.screen(serverId, { intentId });
  const creating = recorded(creation);
  await shown("it is shown at once", creation, (view) => view.creation === Creation.Pending);
  await world.heal(DIRECT);
  const running = await shown("output comes", creation, (view) => output(view).split("\n").length > 20);
  const agentId = running.agentId!;

  await world.heal(RELAY);

  // The direct path breaks in the middle of the output; the rest comes over the relay.
  await world.cut(DIRECT);
  const relayed = await online(first, Path.Relay);
  expect(relayed.generation).toBeGreaterThan(direct.generation);
  const done = await shown("the turn ends", creation, (view) => ended(view).length === 1);
  expect(ended(done).map((item) => item.status)).toEqual([TurnStatus.Completed]);
  const lines = Array.from({ length: 150 }, (_, n) => `line ${n + 1}\n`).join("");
  expect(output(done)).toBe(lines);
  // What came of the intent, however long that is.
  expect(JSON.stringify(await first.intentResult(serverId, intentId))).toContain(agentId);
  creating.end();
  expect(creating.seen.some((view) => view.overlay)).toBe(false);
  const revs = creating.seen.map((view) => view.rev);
  expect(revs).toEqual(revs.toSorted((a, b) => a - b));
  const { rows } = await shown("the directory", first.directory, (view) => view.rows.some((row) => row.agent));
  expect(rows.map((row) => row.agent?.id)).toEqual([agentId]);

  // UX-2: opened again it is there, and at no time under an overlay.
  const reopened = first.screen(serverId, { agentId });
  const reopening = recorded(reopened);
  const there = await shown("it is there", reopened, (view) => output(view) === lines);
  expect(reopening.seen.some((view) => view.overlay)).toBe(false);
  reopening.end();

  // A second screen in a process that cannot load the library shows the same.
  const { port1, port2 } = new MessageChannel();
  const stop = serveBridge(first, port1);
  const far = connectBridge(port2);
  const bridged = await shown("the far side", far.screen(serverId, { agentId }), (view) => view.timeline.loaded);
  expect([...bridged.timeline.items]).toEqual([...there.timeline.items]);
  await expect(far.send("nobody", { kind: "cancel", agentId })).rejects.toMatchObject({ kind: "InvalidIdentity" });
  far.close();
  stop();

  const identity = profile();
  const session = await world.sessions();
  expect(session.length).toBe(1);
  await first.close();

  // The app is started again, with what is on disk, and only the relay is left.
  const second = open(storageFolder);
  expect(profile()).toBe(identity);
  expect((await online(second, Path.Relay)).serverId).toBe(serverId);
  const screen = second.screen(serverId, { agentId });
  const opening = recorded(screen);
  const again = await shown("the timeline", screen, (view) => view.timeline.loaded && ended(view).length === 1);
  // UX-1: until it was loaded for the first time there is an overlay, and neither toast nor placeholder.
  const before = opening.seen.filter((view) => view.ready && !view.timeline.loaded);
  expect(before.every((view) => view.overlay && view.toast === undefined && !view.placeholder)).toBe(true);
  expect(again.overlay).toBe(false);
  expect([...again.timeline.items]).toEqual([...done.timeline.items]);
  expect(again.creation).toBe(Creation.None);
  expect(await world.sessions()).toEqual(session);

  // BX-1: what is sent while every path is cut is shown at once, and done once, when one is there again.
  await world.cut(RELAY);
  await shown("it is not online", second.hosts, ({ hosts }) => hosts[0]!.state !== HostState.Online);
  const prompt = await second.send(serverId, { kind: "sendPrompt", agentId, text: "3" });
  const pending = await shown("it is shown at once", screen, ({ timeline }) =>
    timeline.pending.some((message) => message.intentId === prompt),
  );
  expect(pending.overlay).toBe(false);
  await world.heal(DIRECT);
  const twice = await shown("the second turn ends", screen, (view) => ended(view).length === 2);
  expect((await online(second)).path).toBe(Path.Direct);
  const messages = twice.timeline.items.toArray().filter((item) => item.intentId === prompt && item.kind === ItemKind.User);
  expect(messages.length).toBe(1);
  expect(twice.timeline.pending.length).toBe(0);
  expect(await world.sessions()).toEqual(session);
  opening.end();
  await second.close();
});

describe("what a host has to say", () => {
  it("UX-3: a creation that is refused is rolled back with its error, until it is dismissed", async () => {
    await world.heal(DIRECT);
    const storageFolder = folder();
    const bowline = open(storageFolder);
    const { serverId } = await bowline.pair(await world.offer(DIRECT));
    await online(bowline);
    const intentId = await bowline.send(serverId, { kind: "createAgent", provider: "no such provider", cwd: storageFolder, prompt: "hello" });
    const failed = await shown("it is refused", bowline.screen(serverId, { intentId }), (view) => view.creation === Creation.Failed);
    expect(failed.creationFailed?.failure.kind).toBe("refused");
    expect(failed.agentId).toBeUndefined();
    await shown("the host says so", bowline.hosts, ({ hosts }) => hosts[0]!.failedAgents.length === 1);
    await bowline.dismiss(serverId, intentId);
    await shown("it is dismissed", bowline.hosts, ({ hosts }) => hosts[0]!.failedAgents.length === 0);
    await bowline.close();
  });

  it("an intent of a paused app is refused, and taken again once it was resumed", async () => {
    const storageFolder = folder();
    const bowline = open(storageFolder);
    const { serverId } = await bowline.pair(await world.offer(DIRECT));
    await online(bowline);
    const create = () => bowline.send(serverId, { kind: "createAgent", provider: "cat", cwd: storageFolder, prompt: "after the pause" });
    await bowline.pause();
    await expect(create()).rejects.toMatchObject({ name: "BowlineError", kind: "Paused" });
    await expect(bowline.forgetHost(serverId)).rejects.toMatchObject({ kind: "Paused" });
    // Its files are another's to have meanwhile.
    await open(storageFolder).close();
    await bowline.resume();
    const intentId = await create();
    const done = await shown("it is done", bowline.screen(serverId, { intentId }), (view) => ended(view).length === 1);
    expect(output(done)).toBe("after the pause\n");
    await bowline.close();
  });

  it("a screen whose host is forgotten says so, and nothing is thrown at anyone", async () => {
    const storageFolder = folder();
    const bowline = open(storageFolder);
    const { serverId } = await bowline.pair(await world.offer(DIRECT));
    await online(bowline);
    const screen = bowline.screen(serverId, { agentId: "agt_00000000-0000-7000-8000-000000000000" });
    await shown("it has spoken", screen, (view) => view.ready);
    const { end } = recorded(screen);
    expect(await bowline.forgetHost(serverId)).toBe(true);
    const view = await shown("it says so", screen, (view) => view.failure !== undefined);
    expect(view.failure).toMatchObject({ kind: "UnknownHost", advice: Advice.Nothing });
    await shown("no host", bowline.hosts, ({ hosts }) => hosts.length === 0);
    end();
    await bowline.close();
  });
});
