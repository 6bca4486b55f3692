/** A bridge between processes: values and errors cross it, and when one side is gone the other knows. */
import { MessageChannel } from "node:worker_threads";
import { expect, it, onTestFinished } from "vitest";
import { PreviewData, preview, serveBridge } from "@bowline/runtime";
import { Advice, BowlineError, connectBridge, OutcomeKind, Reason, Refusal, waitFor } from "@bowline/runtime/bridge";
import { type Backend, BowlineClient } from "../packages/runtime/src/client.js";
import type { Patch } from "../packages/runtime/src/patches.js";
import { serve } from "../packages/runtime/src/ports.js";
import { until } from "./support/waiting.js";

/** A backend that counts what is open, and a channel to it. */
function rig() {
  const counts = { opened: 0, closed: 0 };
  const source = () => {
    counts.opened++;
    return () => void counts.closed++;
  };
  const never = () => new Promise<never>(() => {});
  const backend: Backend = {
    hosts: source,
    directory: source,
    screen: () => source,
    table: () => source,
    log: () => source,
    topic: () => source,
    blob: () => source,
    inspectOffer: never,
    pair: never,
    forgetHost: never,
    send: async (serverId) => serverId,
    providers: async () => {
      throw new BowlineError("NotConnected", "nobody there", Advice.Wait, Reason.Unreachable, { refusal: Refusal.Overloaded });
    },
    query: never,
    loadMoreRows: never,
    refreshTable: never,
    loadOlderItems: never,
    refreshLog: never,
    loadOlder: never,
    loadNewer: never,
    intentResult: never,
    outcome: never,
    jumpToNewest: never,
    reload: never,
    dismiss: never,
    refresh: never,
    selectPath: never,
    signal: never,
  };
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => {
    port1.close();
    port2.close();
  });
  return { counts, backend, port1, port2 };
}

it("a timeline that grows on one side grows on the other, item by item", async () => {
  const data = new PreviewData(2, 300);
  const { port1, port2 } = new MessageChannel();
  const stop = serveBridge(preview(data), port1);
  const far = connectBridge(port2);
  const screen = far.screen("host", { agentId: "agent" });
  const end = screen.subscribe(() => {});
  const first = await waitFor(screen, (view) => view.timeline.items.length === 300);
  for (let n = 0; n < 20; n++) {
    data.append(`more ${n}`);
    data.grow("!");
  }
  const last = await waitFor(screen, (view) => view.timeline.items.at(-1)?.text === "more 19!");
  expect(last.timeline.items.length).toBe(320);
  expect(last.timeline.items.at(7)).toBe(first.timeline.items.at(7));
  expect((await waitFor(far.hosts, (view) => view.ready)).hosts.length).toBe(2);
  end();
  far.close();
  stop();
});

it("LD-3: what an intent is expected to change crosses, and its outcome comes back", async () => {
  const { backend, port1, port2 } = rig();
  const said: Patch[] = [];
  backend.send = async (_, __, patches) => {
    said.push(...patches);
    return "i1";
  };
  backend.outcome = async (_, intentId) =>
    intentId === "i1" ? { intentId, kind: OutcomeKind.Refused, resultOmitted: false, detail: "no" } : undefined;
  const stop = serve(backend, port1);
  const far = connectBridge(port2);
  const rename = { kind: "custom" as const, method: "voxel.rename", params: {} };
  const id = await far.send("host", rename, (show) => show.merge("voxel.projects", { p: 1 }, "p1", { name: "castle" }));
  expect(said).toEqual([{ table: "voxel.projects", params: { p: 1 }, key: "p1", change: "merge", value: { name: "castle" } }]);
  expect(await far.outcome("host", id)).toMatchObject({ kind: OutcomeKind.Refused, detail: "no" });
  expect(await far.outcome("host", "i2")).toBeUndefined();
  far.close();
  stop();
});

it("errors cross with their kind, advice and reason", async () => {
  const { backend, port1, port2 } = rig();
  serve(backend, port1);
  const far = connectBridge(port2);
  expect(await far.send("host", { kind: "cancel", agentId: "x" })).toBe("host");
  const error = await far.providers("host").catch((error: unknown) => error);
  expect(error).toBeInstanceOf(BowlineError);
  expect(error).toMatchObject({ kind: "NotConnected", message: "nobody there", advice: Advice.Wait, reason: Reason.Unreachable, refusal: Refusal.Overloaded });
  // What cannot be sent is an error of that call, and of nothing else.
  await expect(far.send("host", { kind: "custom", method: "m", params: { f: () => {} } })).rejects.toMatchObject({ kind: "Internal" });
  expect(await far.send("again", { kind: "cancel", agentId: "x" })).toBe("again");
  far.close();
});

it("a renderer that dies leaves nothing open", async () => {
  const { counts, backend, port1, port2 } = rig();
  serve(backend, port1);
  const far = connectBridge(port2);
  far.hosts.subscribe(() => {});
  far.screen("host", { agentId: "x" }).subscribe(() => {});
  await until("both are open", () => counts.opened === 2);
  // Without a word, as a page that is loaded anew does it.
  port2.close();
  await until("both are closed", () => counts.closed === 2);
});

it("when the side with the library is gone, calls and stores say so, and nobody waits for ever", async () => {
  const { backend, port1, port2 } = rig();
  const stop = serve(backend, port1);
  const far = connectBridge(port2);
  const calling = expect(far.pair("offer")).rejects.toMatchObject({ kind: "BridgeClosed" });
  const waiting = expect(waitFor(far.hosts, (view) => view.ready)).rejects.toMatchObject({ kind: "BridgeClosed" });
  await far.send("host", { kind: "cancel", agentId: "x" });
  stop();
  await Promise.all([calling, waiting]);
  await expect(far.refresh()).rejects.toMatchObject({ kind: "BridgeClosed" });
  far.directory.subscribe(() => {});
  expect(far.directory.getSnapshot().failure?.kind).toBe("BridgeClosed");
});

it("nonsense from a renderer is answered or passed over, and the bridge goes on", async () => {
  const { counts, backend, port1, port2 } = rig();
  serve(backend, port1);
  const answers: { id: number; error?: { kind: string } }[] = [];
  port2.on("message", (answer: { id: number }) => answers.push(answer));
  for (const nonsense of [undefined, null, 7, "text", [], {}, { do: "what" }, { do: "close", id: 99 }]) port2.postMessage(nonsense);
  port2.postMessage({ do: "call", id: 1, name: "constructor", args: [] });
  port2.postMessage({ do: "call", id: 2, name: "send", args: 5 });
  port2.postMessage({ do: "open", id: 3, topic: { kind: "nothing" } });
  port2.postMessage({ do: "open", id: 4 });
  await until("all that asked were answered", () => answers.length === 4);
  expect(answers.map(({ id, error }) => `${id} ${error?.kind}`).toSorted()).toEqual([1, 2, 3, 4].map((id) => `${id} Internal`));
  // The same name twice: the first one is not left open.
  port2.postMessage({ do: "open", id: 5, topic: { kind: "hosts" } });
  port2.postMessage({ do: "open", id: 5, topic: { kind: "hosts" } });
  await until("it is opened twice", () => counts.opened === 2);
  expect(counts.closed).toBe(1);
});

it("a client that was closed serves no more", async () => {
  const { backend, port1, port2 } = rig();
  serve(backend, port1);
  const far = connectBridge(port2);
  far.close();
  await expect(far.refresh()).rejects.toMatchObject({ kind: "Disposed" });
  expect(new BowlineClient(backend).hosts.getSnapshot().ready).toBe(false);
});
