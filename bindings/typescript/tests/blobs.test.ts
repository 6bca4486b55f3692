/** Blobs of a host in an app (LD-8), with a real daemon. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import { afterEach, expect, it } from "vitest";
import { type BlobProgress, Path, Refusal, serveBridge, TransferState } from "@bowline/runtime";
import { connectBridge } from "@bowline/runtime/bridge";
import { online, open } from "./support/app.js";
import { castle } from "./support/castle.js";
import { folder } from "./support/folder.js";
import { DIRECT, World } from "./support/world.js";

let world: World | undefined;
afterEach(() => world?.end());

/** Bytes of which no two pieces are equal. */
function made(size: number): Uint8Array {
  const numbers = new Uint32Array(size / 4);
  for (let n = 0; n < numbers.length; n++) numbers[n] = Math.imul(n, 2_654_435_761);
  return new Uint8Array(numbers.buffer);
}

const MIB = 1 << 20;

it("LD-8: a blob goes there over a cut and comes back equal, with progress, and is refused to another device", async () => {
  world = await World.start("voxel");
  await using bowline = open(folder());
  const { serverId } = await bowline.pair(await world.offer(DIRECT));
  await online(bowline, Path.Direct);
  const bytes = made(24 * MIB);

  // The path is cut once bytes have moved, and healed once the transfer has noticed.
  const seen: BlobProgress[] = [];
  let [cut, healed]: [Promise<void> | undefined, Promise<void> | undefined] = [undefined, undefined];
  const hash = await bowline.putBlob(serverId, bytes, {
    onProgress: (progress) => {
      seen.push(progress);
      if (progress.state === TransferState.Moving && progress.done > 0) cut ??= world!.cut(DIRECT);
      if (cut && progress.state === TransferState.Waiting) healed ??= cut.then(() => world!.heal(DIRECT));
    },
  });
  expect(healed, "it was cut on its way").toBeDefined();
  expect(seen.at(-1)).toEqual({ state: TransferState.Done, hash, done: bytes.length, total: bytes.length });
  expect(seen.length).toBeGreaterThan(3);

  const got = await bowline.getBlob(serverId, hash);
  expect(Buffer.compare(got, bytes)).toBe(0);

  const files = folder();
  const [source, target] = [join(files, "source"), join(files, "target")];
  writeFileSync(source, "of a file");
  const named = await bowline.putBlob(serverId, { file: source });
  await bowline.getBlobFile(serverId, named, target);
  expect(readFileSync(target, "utf8")).toBe("of a file");
  await expect(bowline.putBlob(serverId, { file: join(files, "none") })).rejects.toMatchObject({ kind: "Storage" });

  await using other = open(folder());
  await other.pair(await world.offer(DIRECT));
  await expect(other.getBlob(serverId, hash)).rejects.toMatchObject({ kind: "Rejected", refusal: Refusal.NotFound });
  const of = { table: "voxel.projects", params: {} };
  await expect(other.getBlob(serverId, hash, { of })).rejects.toMatchObject({ kind: "Rejected" });
  await expect(other.getBlob(serverId, "no hash")).rejects.toMatchObject({ kind: "InvalidQuery" });
});

it("LD-8: a device that may see an item gets the blob that it refers to through it, and through nothing else", async () => {
  const { world, bowline, serverId, project, run } = await castle();
  const picture = made(MIB);
  const hash = await bowline.putBlob(serverId, picture);
  await using other = open(folder());
  await other.pair(await world.offer(DIRECT));
  const of = { log: "voxel.notes", params: { project } };
  const refused = { kind: "Rejected", refusal: Refusal.NotFound };
  await expect(other.getBlob(serverId, hash, { of })).rejects.toMatchObject(refused);
  await run("voxel.add_note", { by: "ana", text: "The gate", picture: hash });
  expect(Buffer.compare(await other.getBlob(serverId, hash, { of }), picture)).toBe(0);
  const target = join(folder(), "gate");
  await other.getBlobFile(serverId, hash, target, { of });
  expect(Buffer.compare(readFileSync(target), picture)).toBe(0);
  await expect(other.getBlob(serverId, hash)).rejects.toMatchObject(refused);
  const elsewhere = { table: "voxel.projects", params: { project } };
  await expect(other.getBlob(serverId, hash, { of: elsewhere })).rejects.toMatchObject(refused);
});

it("LD-8: an aborted transfer rejects with the reason, and another call goes on where it stopped", async () => {
  world = await World.start("voxel");
  await using bowline = open(folder());
  const { serverId } = await bowline.pair(await world.offer(DIRECT));
  await online(bowline, Path.Direct);
  const bytes = made(16 * MIB);
  const stop = new AbortController();
  const onProgress = ({ done }: BlobProgress) => {
    if (done > 2 * MIB) stop.abort(new Error("left the screen"));
  };
  await expect(bowline.putBlob(serverId, bytes, { onProgress, signal: stop.signal })).rejects.toThrow("left the screen");
  await expect(bowline.putBlob(serverId, bytes, { signal: stop.signal })).rejects.toThrow("left the screen");
  let first: BlobProgress | undefined;
  await bowline.putBlob(serverId, bytes, {
    onProgress: (progress) => {
      if (progress.state === TransferState.Moving) first ??= progress;
    },
  });
  expect(first!.done).toBeGreaterThan(2 * MIB - 1);
});

it("LD-8: bytes cross a bridge both ways, and no file is read or written through one", async () => {
  world = await World.start("voxel");
  await using bowline = open(folder());
  const { serverId } = await bowline.pair(await world.offer(DIRECT));
  const { port1, port2 } = new MessageChannel();
  serveBridge(bowline, port1);
  const far = connectBridge(port2);
  const states: TransferState[] = [];
  const bytes = made(MIB);
  const hash = await far.putBlob(serverId, bytes, { onProgress: ({ state }) => void states.push(state) });
  expect(states.at(-1)).toBe(TransferState.Done);
  expect(Buffer.compare(await far.getBlob(serverId, hash), bytes)).toBe(0);
  const target = join(folder(), "target");
  await expect(far.getBlobFile(serverId, hash, target)).rejects.toMatchObject({ kind: "InvalidQuery" });
  await expect(far.putBlob(serverId, { file: target })).rejects.toMatchObject({ kind: "InvalidQuery" });
  far.close();
});
