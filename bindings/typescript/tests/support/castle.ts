/** An app with a project of a real daemon that has a service: `daemon/examples/voxel.rs`. */
import { onTestFinished } from "vitest";
import { type Bowline, Path } from "@bowline/runtime";
import { online, open } from "./app.js";
import { folder } from "./folder.js";
import { shown } from "./waiting.js";
import { DIRECT, World } from "./world.js";

export interface Castle {
  readonly world: World;
  readonly bowline: Bowline;
  readonly serverId: string;
  readonly project: string;
  /** Sends a change of the project, and gives its intent. */
  readonly send: (method: string, params: object) => Promise<string>;
  /** Sends one, waits until the daemon has made it, and gives its result. */
  readonly run: (method: string, params: object) => Promise<unknown>;
}

/** Starts both; they end with the test. */
export async function castle(): Promise<Castle> {
  const world = await World.start("voxel");
  onTestFinished(() => world.end());
  const bowline = open(folder());
  onTestFinished(() => bowline[Symbol.asyncDispose]());
  const { serverId } = await bowline.pair(await world.offer(DIRECT));
  await online(bowline, Path.Direct);
  const sent = (method: string, params: object) =>
    bowline.send(serverId, { kind: "custom", method, params: params as Record<string, unknown> });
  const done = async (intentId: string) => {
    await shown("it is done", bowline.hosts, ({ hosts }) =>
      hosts.some((host) => host.recentIntents.some((outcome) => outcome.intentId === intentId)),
    );
    return bowline.intentResult(serverId, intentId);
  };
  const made = await done(await sent("voxel.create_project", { name: "castle", size: [8, 8, 8] }));
  const { project } = made as { project: string };
  const send = (method: string, params: object) => sent(method, { project, ...params });
  return { world, bowline, serverId, project, send, run: async (method, params) => done(await send(method, params)) };
}
