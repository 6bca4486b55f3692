/** An app as the tests against the real daemon use it. */
import { expect } from "vitest";
import { type Bowline, HostState, ItemKind, openBowline, type Path } from "@bowline/runtime";
import type { ScreenView, Store } from "@bowline/runtime/bridge";
import { shown } from "./waiting.js";

/** An app on that folder. */
export const open = (storageFolder: string): Bowline => openBowline({ storageFolder, appName: "tests", appVersion: "1" });
/** What the agent has written. */
export const output = ({ timeline }: ScreenView) =>
  timeline.items.map(({ kind, text }) => (kind === ItemKind.Output ? text : "")).join("");
/** The turns that have ended. */
export const ended = ({ timeline }: ScreenView) => timeline.items.toArray().filter(({ kind }) => kind === ItemKind.TurnEnd);
/** Waits until the only host is online, on such a path. */
export const online = async (bowline: Bowline, path?: Path) => {
  const { hosts } = await shown("the host is online", bowline.hosts, ({ hosts }) =>
    hosts.some((host) => host.state === HostState.Online && (path === undefined || host.path === path)),
  );
  expect(hosts.length).toBe(1);
  return hosts[0]!;
};

/** Every value that a screen shows, from before it is subscribed to on. */
export function recorded(screen: Store<ScreenView>): { seen: ScreenView[]; end: () => void } {
  const seen = [screen.getSnapshot()];
  return { seen, end: screen.subscribe(() => seen.push(screen.getSnapshot())) };
}

/** All turns are over, and nothing is on its way. */
export const isCalm = (view: ScreenView) =>
  view.timeline.items.at(-1)?.kind === ItemKind.TurnEnd && view.timeline.pending.length === 0;

/** An agent with one turn behind it. */
export async function agent(bowline: Bowline, serverId: string, cwd: string): Promise<string> {
  const intentId = await bowline.send(serverId, { kind: "createAgent", provider: "cat", cwd, prompt: "hello" });
  const done = await shown("a turn ends", bowline.screen(serverId, { intentId }), (view) => ended(view).length === 1);
  return done.agentId!;
}
