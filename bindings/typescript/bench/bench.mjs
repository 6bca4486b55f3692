/**
 * What the boundary costs in Node: one JSON object a line, for `cargo xtask bench typescript`, which judges them.
 *
 *     node bench/bench.mjs [--quick] [--library FOLDER]
 *
 * It runs the built package (`npm run build`) against the library of that folder, of `BOWLINE_LIBRARY`, or of this platform's package.
 */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({ options: { quick: { type: "boolean" }, library: { type: "string" } } });
if (options.library) process.env.BOWLINE_LIBRARY = libraryIn(resolve(options.library));
process.env.BOWLINE_LIBRARY ??= libraryIn(placed());
const { openBowline, preview, PreviewData, waitFor } = await import("../packages/runtime/dist/index.js");

const HOSTS = 20;
/** Updates of a burst: `PreviewData.burst` publishes them all, whatever is delivered. */
const UPDATES = 100_000;
const CALLBACK_MS = 10;
const pick = (full, quick) => (options.quick ? quick : full);

function libraryIn(folder) {
  if (statSync(folder).isFile()) return folder;
  const name = readdirSync(folder).find((file) => /^(lib)?bowline_ffi\.(so|dylib|dll)$/.test(file));
  if (!name) throw new Error(`there is no library in ${folder}`);
  return join(folder, name);
}

/** Where `cargo xtask bindings node` puts it. */
function placed() {
  const packages = fileURLToPath(new URL("../packages/", import.meta.url));
  const name = readdirSync(packages).find((name) => name.startsWith("runtime-"));
  if (!name) throw new Error("there is no native library: run `cargo xtask bindings node` first");
  return join(packages, name);
}

function print(figure, samples_us) {
  console.log(JSON.stringify({ figure, samples_us }));
}

const inMicros = (millis) => millis.map((ms) => ms * 1_000);

function busy(ms) {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** Calls back whenever the store's value was changed, subscribed until the function that is returned is called. */
function changes(store) {
  let wake = () => {};
  const end = store.subscribe(() => wake());
  return { end, next: () => new Promise((resolve) => (wake = resolve)) };
}

/** One change after the other, each awaited in the list that a view would render. */
async function awaited(count, { changed, change }) {
  const began = performance.now();
  for (let n = 0; n < count; n++) {
    const shown = changed.next();
    const isShown = change();
    await shown;
    if (!isShown()) throw new Error("another change was delivered");
  }
  return ((performance.now() - began) * 1_000) / count;
}

/** What changes cost in lists of two lengths; `open` makes one of a length for a sample. */
async function lists(figure, lengths, open) {
  const samples = new Map(lengths.map((length) => [length, []]));
  const rounds = pick(60, 6);
  const [count, step] = [200, 20];
  for (let round = 0; round <= rounds; round++) {
    const pair = [];
    for (const length of lengths) pair.push({ length, list: await open(length), micros: 0 });
    // In turn, and in small parts: what disturbs the machine disturbs both.
    for (let done = 0; done < count; done += step) {
      for (const one of pair) one.micros += (await awaited(step, one.list)) * (step / count);
      pair.reverse();
    }
    for (const { length, list, micros } of pair) {
      list.changed.end();
      // The first round warms up.
      if (round > 0) samples.get(length).push(micros);
    }
  }
  for (const [length, micros] of samples) print(`${figure}_${length}`, micros);
}

/** A history to which items are appended. Each sample has one of its own, which so stays as long as its name says. */
async function history(length) {
  const data = new PreviewData(1, length);
  const screen = preview(data).screen("made-up", { agentId: "made-up" });
  const changed = changes(screen);
  const items = () => screen.getSnapshot().timeline.items.length;
  await waitFor(screen, (view) => view.timeline.items.length === length);
  const change = () => {
    const wanted = items() + 1;
    data.append("a line of output, as long as they are");
    return () => items() === wanted;
  };
  return { changed, change };
}

/** A table whose rows are changed, each time another, spread over it. Each length has one. */
const tables = new Map();
async function table(length) {
  const key = (n) => `c${String(n).padStart(6, "0")}`;
  const row = (n, times) => ({ key: key(n), value: { text: `text ${n}`, times } });
  let opened = tables.get(length);
  if (!opened) {
    const data = new PreviewData(0, 0);
    data.show("cells", Array.from({ length }, (_, n) => row(n, 0)));
    opened = { data, store: preview(data).table("made-up", "cells"), times: 0 };
    tables.set(length, opened);
  }
  const { data, store } = opened;
  const changed = changes(store);
  await waitFor(store, ({ rows }) => rows.length === length);
  const change = () => {
    const [times, at] = [++opened.times, (opened.times * Math.max(1, length / 200)) % length];
    data.change("cells", row(at, times));
    return () => store.getSnapshot().rows.at(at)?.value.times === times;
  };
  return { changed, change };
}

/** A folder with an identity and hosts that it knows; nobody listens at their addresses. */
async function prepared() {
  const storageFolder = mkdtempSync(join(tmpdir(), "bowline-bench-"));
  const options = { storageFolder, appName: "bench", appVersion: "0" };
  await openBowline(options).close();
  const hosts = Array.from({ length: HOSTS }, (_, n) => ({
    serverId: `srv_${String.fromCharCode(97 + n).repeat(26)}`,
    name: `host ${n}`,
    transportKey: Buffer.alloc(32, n + 1).toString("base64url"),
    addresses: [{ path: "direct", address: "127.0.0.1:1" }],
  }));
  writeFileSync(join(storageFolder, "hosts.json"), JSON.stringify({ version: 1, hosts }));
  return { options, serverId: hosts[0].serverId };
}

async function views() {
  const { options, serverId } = await prepared();
  const [first, call] = [[], []];
  for (let n = 0; n < pick(100, 10); n++) {
    const began = performance.now();
    const bowline = openBowline(options);
    const { hosts } = await waitFor(bowline.hosts, (view) => view.ready);
    first.push((performance.now() - began) * 1_000);
    if (hosts.length !== HOSTS) throw new Error(`the first snapshot has ${hosts.length} hosts`);
    await bowline.close();
  }
  const bowline = openBowline(options);
  await waitFor(bowline.hosts, (view) => view.ready);
  const intent = { kind: "cancel", agentId: "agt_bench" };
  // The first ones open the file and warm up.
  for (let n = -100; n < pick(1_000, 200); n++) {
    const began = performance.now();
    const named = bowline.send(serverId, intent);
    if (n >= 0) call.push((performance.now() - began) * 1_000);
    await named;
  }
  await bowline.close();
  rmSync(options.storageFolder, { recursive: true, force: true });
  print("first_snapshot", first);
  print("intent_call", call);
}

/** Whether a slow callback slows who publishes, and how soon it has the last value. */
async function bursts() {
  const [free, slow, last] = [[], [], []];
  const data = new PreviewData(3, 0);
  const { hosts } = preview(data);
  const name = () => hosts.getSnapshot().hosts[0]?.name;
  for (let n = 0; n < pick(10, 2); n++) {
    free.push(await data.burst(UPDATES, 0));
    const end = hosts.subscribe(() => busy(CALLBACK_MS));
    slow.push(await data.burst(UPDATES, 0));
    end();
    last.push(await lastOfBurst());
  }
  print("burst_alone", inMicros(free));
  print("burst_slow", inMicros(slow));
  print("last_after_free", inMicros(last));

  async function lastOfBurst() {
    data.renameHost("none yet");
    await waitFor(hosts, () => name() === "none yet");
    let [called, free, delivered] = [0, 0, 0];
    const end = hosts.subscribe(() => {
      called = performance.now();
      if (name() === String(UPDATES)) delivered = called;
      else {
        busy(CALLBACK_MS);
        free = performance.now();
      }
    });
    const began = performance.now();
    const ended = began + (await data.burst(UPDATES, UPDATES));
    await waitFor(hosts, () => delivered > 0);
    end();
    return Math.max(delivered - Math.max(free, ended), 0);
  }
}

await lists("append", [100, 10_000], history);
await lists("row", [100, 100_000], table);
await views();
await bursts();
