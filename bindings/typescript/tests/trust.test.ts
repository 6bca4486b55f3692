/** What an app must show when a daemon refuses this device, or is not the one it was: the reason, and what to do (TR-1, TR-3 … TR-5, TR-15). */
import { EventEmitter } from "node:events";
import { afterEach, beforeEach, expect, it, onTestFinished } from "vitest";
import {
  Advice,
  type Bowline,
  Connectivity,
  type ErrorInfo,
  HostState,
  type HostSnapshot,
  observeElectron,
  OutcomeKind,
  Reason,
  Refusal,
  Role,
} from "@bowline/runtime";
import type { ScreenView, Store } from "@bowline/runtime/bridge";
import { agent, isCalm, online, open } from "./support/app.js";
import { folder } from "./support/folder.js";
import { shown } from "./support/waiting.js";
import { DIRECT, World } from "./support/world.js";

let world: World;
let bowline: Bowline;

beforeEach(async () => {
  world = await World.start();
  bowline = another();
});

afterEach(async () => world.end());

/** An app, which ends with the test. */
function another(): Bowline {
  const app = open(folder());
  onTestFinished(() => app.close());
  return app;
}

/** Waits until the only host is as wanted. */
async function host(what: string, wanted: (host: HostSnapshot) => boolean): Promise<HostSnapshot> {
  const { hosts } = await shown(what, bowline.hosts, ({ hosts }) => hosts.length === 1 && wanted(hosts[0]!));
  return hosts[0]!;
}

/** The error with which the host waits for somebody to act. */
const refusal = async () => (await host("it is refused", ({ state }) => state === HostState.Error)).lastError;

/** The code of an app's pairing in progress. */
async function code(app: Bowline): Promise<string> {
  const { pairings } = await shown("the code is shown", app.hosts, ({ pairings }) => pairings[0]?.code !== undefined);
  expect(pairings.length).toBe(1);
  return pairings[0]!.code!;
}

function says(error: ErrorInfo | undefined, reason: Reason, advice: Advice) {
  expect(error).toMatchObject({ reason, advice, detail: expect.stringMatching(/./) });
}

/** The user leaves the app and comes back. */
function comesBack() {
  const app = new EventEmitter();
  const end = observeElectron(bowline, { app, powerMonitor: new EventEmitter() });
  app.emit("browser-window-blur");
  app.emit("browser-window-focus");
  end();
}

/** The prompt of a screen is done, once. */
async function done(prompt: string, screen: Store<ScreenView>) {
  const { timeline } = await shown("it is done", screen, (view) => {
    return isCalm(view) && view.timeline.items.toArray().some((item) => item.intentId === prompt);
  });
  expect(timeline.items.toArray().filter((item) => item.text === "for the right one").length).toBe(1);
}

it("TR-3: the app shows the code that the daemon's owner compares, the yes and the no, and who else has paired", async () => {
  const pairing = bowline.pair(await world.link({ do: "offer", paths: [DIRECT], ask: true }));
  const shownCode = await code(bowline);
  expect(shownCode).toMatch(/^\d{6}$/);
  const asked = bowline.hosts.getSnapshot();
  expect(asked.hosts).toEqual([]);
  // The world finds the device by the code, so both sides have the same one.
  await world.order({ do: "approve", code: shownCode });
  expect((await pairing).serverId).toBe(asked.pairings[0]!.serverId);
  expect((await online(bowline)).grant?.role).toBe(Role.Owner);
  await shown("it is over", bowline.hosts, ({ pairings }) => pairings.length === 0);

  const other = another();
  const unwanted = expect(other.pair(await world.link({ do: "offer", paths: [DIRECT], ask: true }))).rejects.toMatchObject({
    kind: "PairingRefused",
    reason: Reason.PairingRefused,
    advice: Advice.PairAgain,
  });
  await world.order({ do: "refuse", code: await code(other) });
  await unwanted;
  await shown("nothing is left", other.hosts, ({ hosts, pairings }) => pairings.length === 0 && hosts.length === 0);
  await other.pair(await world.offer(DIRECT));
  const { lastPaired } = await host("the first app is told", ({ lastPaired }) => lastPaired !== undefined);
  expect(lastPaired?.role).toBe(Role.Owner);
});

it("TR-4, TR-5: a device sees its role, what that refuses, and that it was revoked", async () => {
  const { serverId } = await bowline.pair(await world.offer(DIRECT));
  expect((await online(bowline)).grant?.role).toBe(Role.Owner);
  await world.order({ do: "grant", role: "viewer" });
  await host("the role is there", ({ grant }) => grant?.role === Role.Viewer);
  const create = { kind: "createAgent", provider: "cat", cwd: world.ready.folder, prompt: "hello" } as const;
  const intentId = await bowline.send(serverId, create);
  const { recentIntents } = await host("it is refused", ({ recentIntents }) => recentIntents.some((one) => one.intentId === intentId));
  const outcome = recentIntents.find((one) => one.intentId === intentId);
  expect(outcome).toMatchObject({ kind: OutcomeKind.Refused, refusal: Refusal.NotGranted });
  expect(outcome?.detail).toContain("owner");
  await world.order({ do: "revoke" });
  says(await refusal(), Reason.DeviceRevoked, Advice.PairAgain);
});

it("TR-4: a device sees when its time ends and that it has ended, and pairing again helps", async () => {
  await bowline.pair(await world.offer(DIRECT));
  const { grant: first } = await online(bowline);
  expect(first).toMatchObject({ role: Role.Owner, expiresAt: undefined });
  await world.order({ do: "grant", expires: "30d" });
  const { grant } = await host("it has an end", ({ grant }) => grant?.expiresAt !== undefined);
  expect(grant?.expiresAt?.getTime()).toBeGreaterThan(Date.now());
  await world.order({ do: "grant", expires: "1s" });
  says(await refusal(), Reason.DeviceExpired, Advice.PairAgain);
  await bowline.pair(await world.offer(DIRECT));
  const again = await online(bowline);
  expect(again.lastError).toBeUndefined();
  expect(again.grant).toMatchObject({ role: Role.Owner, expiresAt: undefined });
});

it("TR-15: a locked daemon is an error of the host and of the screen, and after the unlock the app goes on", async () => {
  const { serverId } = await bowline.pair(await world.offer(DIRECT));
  const screen = bowline.screen(serverId, { agentId: await agent(bowline, serverId, world.ready.folder) });
  await shown("it is loaded", screen, isCalm);
  await world.order({ do: "lock" });
  says(await refusal(), Reason.DaemonLocked, Advice.Wait);
  const locked = await shown("the screen is offline", screen, (view) => view.connectivity === Connectivity.Offline);
  says(locked.connectionError, Reason.DaemonLocked, Advice.Wait);
  expect(locked.composerEnabled && locked.timeline.items.length > 0).toBe(true);
  await expect(another().pair(await world.offer(DIRECT))).rejects.toMatchObject({
    kind: "PairingRefused",
    reason: Reason.DaemonLocked,
    advice: Advice.Wait,
  });

  // What the user sends is tried at once, and kept.
  const before = bowline.hosts.getSnapshot().hosts[0]!.generation;
  const prompt = await bowline.send(serverId, { kind: "sendPrompt", agentId: locked.agentId!, text: "for the right one" });
  const tried = await host("it was tried", ({ state, generation }) => state === HostState.Error && generation > before);
  says(tried.lastError, Reason.DaemonLocked, Advice.Wait);
  expect(tried.pendingIntents).toBe(1);
  await world.order({ do: "unlock" });
  comesBack();
  expect((await online(bowline)).lastError).toBeUndefined();
  await done(prompt, screen);
});

it("TR-1: whoever answers in the daemon's place is told nothing, and the app sees why", async () => {
  const { serverId } = await bowline.pair(await world.offer(DIRECT));
  const agentId = await agent(bowline, serverId, world.ready.folder);
  const screen = bowline.screen(serverId, { agentId });
  await shown("it is loaded", screen, isCalm);
  await world.order({ do: "divert", path: DIRECT });
  const { lastError: other } = await host("another key", ({ lastError }) => lastError?.reason === Reason.CryptoFailed);
  // Anybody on the way can bring that about, so it is retried.
  says(other, Reason.CryptoFailed, Advice.Wait);
  expect(other?.detail).toContain("does not have the key");
  const prompt = await bowline.send(serverId, { kind: "sendPrompt", agentId, text: "for the right one" });
  expect((await world.heard()).hellos).toBe(0);

  // With the daemon's key it can read who calls, and lacks the identity.
  await world.order({ do: "divert", path: DIRECT, stolen: true });
  const error = await refusal();
  says(error, Reason.ServerIdentityMismatch, Advice.PairAgain);
  expect(error?.detail).toContain("did not prove");
  const view = await shown("the screen is offline", screen, (view) => view.connectivity === Connectivity.Offline);
  says(view.connectionError, Reason.ServerIdentityMismatch, Advice.PairAgain);

  await world.heal(DIRECT);
  comesBack();
  expect((await online(bowline)).lastError).toBeUndefined();
  await done(prompt, screen);
  const heard = await world.heard();
  expect(heard.hellos).toBeGreaterThan(0);
  expect(heard.messages).toBe(0);
});

it("TR-1: a link that names a known host under another key is refused, and nobody is dialled", async () => {
  await bowline.pair(await world.offer(DIRECT));
  const { name } = await online(bowline);
  const forged = await world.link({ do: "forge" });
  expect((await bowline.inspectOffer(forged)).host).toMatchObject({ kind: "otherKey", name });
  const refused = await bowline.pair(forged).catch((error: unknown) => error);
  expect(refused).toMatchObject({ kind: "PairingRefused", reason: Reason.ServerIdentityMismatch, advice: Advice.AskUser });
  expect(String(refused)).toContain(name);
  expect(String(refused)).toContain("forget");
  expect((await world.heard()).connections).toBe(0);
  expect((await online(bowline)).state).toBe(HostState.Online);
});
