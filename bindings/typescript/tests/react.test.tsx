// @vitest-environment happy-dom
/** The hooks: StrictMode, tearing, unmount, server. */
import { act, cleanup, render, screen as dom } from "@testing-library/react";
import { StrictMode, startTransition, useState } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, describe, expect, it } from "vitest";
import { BowlineProvider, type IntentState, useAgentScreen, useDirectory, useHost, useHosts, useIntent, useLog, useScreenFrame, useTableRow, useTimeline, useTopic } from "@bowline/react";
import { Advice, BowlineError, type Intent, OutcomeKind, type Show, TopicState } from "@bowline/runtime/bridge";
import { type Backend, BowlineClient } from "../packages/runtime/src/client.js";
import type { Patch } from "../packages/runtime/src/patches.js";
import type { Source } from "../packages/runtime/src/store.js";
import { until } from "./support/waiting.js";

/** A backend that does as it is told. */
function rig() {
  const live = new Map<string, Set<{ onUpdate: (update: never) => void; onEnd: (error: BowlineError) => void }>>();
  const counts = { opened: 0, closed: 0 };
  const source = <U,>(topic: string): Source<U> => (onUpdate, onEnd) => {
    const set = live.get(topic) ?? new Set();
    live.set(topic, set);
    const subscription = { onUpdate: onUpdate as (update: never) => void, onEnd };
    set.add(subscription);
    counts.opened++;
    return () => {
      counts.closed++;
      set.delete(subscription);
    };
  };
  const slow = { release: () => {} };
  const nothing = async () => undefined as never;
  let sent = 0;
  const said: Patch[] = [];
  const loaded: unknown[] = [];
  const backend: Backend = {
    hosts: source("hosts"),
    directory: source("directory"),
    screen: (serverId) => source(`screen ${serverId}`),
    table: (serverId, name) => source(`table ${serverId} ${name}`),
    log: (serverId, name) => source(`log ${serverId} ${name}`),
    topic: (serverId, name) => source(`topic ${serverId} ${name}`),
    blob: () => source("blob"),
    inspectOffer: nothing,
    pair: nothing,
    forgetHost: nothing,
    send: async (_, intent, patches) => {
      said.push(...patches);
      if (intent.kind === "archive") throw new Error("refused here");
      if (intent.kind === "cancel") {
        await new Promise<void>((resolve) => (slow.release = resolve));
        return "slow";
      }
      return `intent-${++sent}`;
    },
    providers: nothing,
    query: nothing,
    loadMoreRows: nothing,
    refreshTable: nothing,
    loadOlderItems: async (_, name, params) => void loaded.push([name, params]),
    refreshLog: nothing,
    loadOlder: nothing,
    loadNewer: nothing,
    intentResult: nothing,
    outcome: nothing,
    jumpToNewest: nothing,
    reload: nothing,
    dismiss: nothing,
    refresh: nothing,
    selectPath: nothing,
    signal: nothing,
  };
  const publish = (topic: string, update: unknown) => {
    for (const { onUpdate } of live.get(topic) ?? []) onUpdate(update as never);
  };
  const end = (topic: string, error: BowlineError) => {
    for (const { onEnd } of live.get(topic) ?? []) onEnd(error);
  };
  return { client: new BowlineClient(backend), publish, end, counts, slow, said, loaded };
}

/** A component that sends, and what it shows. */
function intents(client: BowlineClient) {
  let renders = 0;
  let shown: ReturnType<typeof useIntent>;
  const Sender = () => {
    shown = useIntent("a");
    renders++;
    return <p>{shown[1].status}</p>;
  };
  render(
    <BowlineProvider client={client}>
      <Sender />
    </BowlineProvider>,
  );
  return {
    begin: (intent: Intent) => shown[0](intent),
    send: (intent: Intent, say?: (show: Show) => unknown) => act(async () => void (await shown[0](intent, say))),
    state: (): IntentState => shown[1],
    renders: () => renders,
  };
}

const hosts = (rev: number, ...names: string[]) => ({
  rev,
  hosts: names.map((name) => ({ serverId: name, name, rev, recentIntents: [] as unknown[] })),
});

const withOutcome = (rev: number, outcome: object) => {
  const update = hosts(rev, "a");
  update.hosts[0]!.recentIntents.push(outcome);
  return update;
};

const screenUpdate = (rev: number, timelineRev: number, changes: unknown[], rows: unknown[], overlay = false) => ({
  rev,
  serverId: "s",
  overlay,
  timeline: { baseRev: timelineRev > 1 ? timelineRev - 1 : undefined, rev: timelineRev, changes, rows, loaded: true },
});

afterEach(cleanup);

describe("hooks", () => {
  it("LD-3: an intent goes with what it is expected to change", async () => {
    const { client, said } = rig();
    const sender = intents(client);
    await sender.send({ kind: "custom", method: "voxel.add_layer", params: {} }, (show) =>
      show
        .upsert("voxel.layers", { p: 1 }, "walls", { name: "walls" })
        .merge("voxel.projects", {}, "p1", { n: 2 })
        .remove("voxel.layers", {}, "roof")
        .append("voxel.notes", { p: 1 }, { text: "A door" }),
    );
    expect(said).toEqual([
      { table: "voxel.layers", params: { p: 1 }, key: "walls", change: "upsert", value: { name: "walls" } },
      { table: "voxel.projects", params: {}, key: "p1", change: "merge", value: { n: 2 } },
      { table: "voxel.layers", params: {}, key: "roof", change: "remove" },
      { table: "voxel.notes", params: { p: 1 }, key: "", change: "append", value: { text: "A door" } },
    ]);
    expect(sender.state().status).toBe("pending");
  });

  it("BX-6: a component that shows a part is not rendered when another part changes", () => {
    const { client, publish } = rig();
    const renders = { count: 0, host: 0, frame: 0, row: 0 };
    const Count = () => {
      renders.count++;
      return <p>{useHosts((all) => all.hosts.length)} hosts</p>;
    };
    const Host = () => {
      renders.host++;
      return <p>{useHost("b")?.name ?? "no host"}</p>;
    };
    const Bar = () => {
      renders.frame++;
      const { agent } = useScreenFrame("s", "t");
      return <p>{agent ? `${agent.title} of ${agent.updatedAt.getTime()}` : "no title"}</p>;
    };
    const Row = () => {
      renders.row++;
      return <p>{useTableRow<string>("s", "voxel.layers", {}, "roof")?.value ?? "no row"}</p>;
    };
    render(
      <BowlineProvider client={client}>
        <Count />
        <Host />
        <Bar />
        <Row />
      </BowlineProvider>,
    );
    const screen = (rev: number, text: string) => {
      const update = screenUpdate(rev, rev, [{ kind: "insert", at: rev - 1, count: 1 }], [{ id: `i${rev}`, text }]);
      return { ...update, agent: { title: "castle", updatedAt: new Date(1_000) } };
    };
    const table = (rev: number, change: object, ...rows: [string, string][]) => ({
      baseRev: rev > 1 ? rev - 1 : undefined,
      rev,
      changes: [change],
      rows: rows.map(([key, value]) => ({ key, json: JSON.stringify(value), pending: false })),
    });
    act(() => {
      publish("hosts", hosts(1, "a", "b"));
      publish("screen s", screen(1, "one"));
      publish("table s voxel.layers", table(1, { kind: "insert", at: 0, count: 2 }, ["door", "red"], ["roof", "blue"]));
    });
    const before = { ...renders };
    for (const text of ["2 hosts", "b", "castle of 1000", "blue"]) expect(dom.getByText(text)).toBeTruthy();
    act(() => {
      const next = hosts(2, "a", "b");
      next.hosts[1]!.rev = 1;
      publish("hosts", next);
      publish("screen s", screen(2, "two"));
      publish("table s voxel.layers", table(2, { kind: "update", at: 0 }, ["door", "green"]));
    });
    expect(renders).toEqual(before);
    act(() => {
      publish("hosts", hosts(3, "a", "b", "c"));
      publish("screen s", { ...screen(3, "three"), agent: { title: "castle", updatedAt: new Date(2_000) } });
      publish("table s voxel.layers", table(3, { kind: "update", at: 1 }, ["roof", "black"]));
    });
    for (const text of ["3 hosts", "castle of 2000", "black"]) expect(dom.getByText(text)).toBeTruthy();
    expect(renders.row).toBe(before.row + 1);
  });

  it("StrictMode's double mount makes one subscription, and unmount ends it", async () => {
    const { client, publish, counts } = rig();
    const Names = () => <p>{useHosts().hosts.map((host) => host.name).join() || "none"}</p>;
    const view = render(
      <StrictMode>
        <BowlineProvider client={client}>
          <Names />
          <Names />
        </BowlineProvider>
      </StrictMode>,
    );
    expect(counts).toEqual({ opened: 1, closed: 0 });
    act(() => publish("hosts", hosts(1, "a", "b")));
    expect(dom.getAllByText("a,b").length).toBe(2);
    view.unmount();
    await until("it is unsubscribed", () => counts.closed === 1);
    expect(counts.opened).toBe(1);
  });

  it("no two components show different values in one commit, a transition in between", () => {
    const { client, publish } = rig();
    const seen: string[][] = [];
    const shown: string[] = [];
    const Rev = ({ place }: { place: number }) => {
      const { rev } = useHosts();
      const end = performance.now() + 2;
      while (performance.now() < end);
      shown[place] = String(rev);
      return <i>{rev}</i>;
    };
    let grow: (() => void) | undefined;
    const Many = () => {
      const [count, setCount] = useState(2);
      grow = () => startTransition(() => setCount(20));
      return <p data-testid="many">{Array.from({ length: count }, (_, n) => <Rev key={n} place={n} />)}</p>;
    };
    render(
      <BowlineProvider client={client}>
        <Many />
      </BowlineProvider>,
    );
    const look = () => seen.push([...dom.getByTestId("many").children].map((child) => child.textContent ?? ""));
    act(() => {
      grow!();
      publish("hosts", hosts(1, "a"));
    });
    look();
    act(() => publish("hosts", hosts(2, "a")));
    look();
    for (const texts of seen) expect(new Set(texts).size).toBe(1);
    expect(seen.at(-1)).toEqual(Array.from({ length: 20 }, () => "2"));
  });

  it("on a server nothing is known, nothing is shown over it, and nothing is subscribed", () => {
    const { client, counts } = rig();
    const Page = () => {
      const { overlay, composerEnabled } = useAgentScreen("s", "agent");
      return <p>{`${useHosts().ready} ${useDirectory().loading} ${overlay} ${composerEnabled}`}</p>;
    };
    const html = renderToString(
      <BowlineProvider client={client}>
        <Page />
      </BowlineProvider>,
    );
    expect(html).toContain("false true false false");
    expect(counts.opened).toBe(0);
  });

  it("a screen and its timeline are one subscription, and a timeline renders only when it changes", () => {
    const { client, publish, counts } = rig();
    let renders = 0;
    const Timeline = () => {
      renders++;
      return <p>{useTimeline("s", "agent").items.map((item) => item.text).join()}</p>;
    };
    const Overlay = () => <b>{String(useAgentScreen("s", { agentId: "agent" }).overlay)}</b>;
    render(
      <BowlineProvider client={client}>
        <Overlay />
        <Timeline />
      </BowlineProvider>,
    );
    expect(counts.opened).toBe(1);
    const item = { id: "1", text: "hello" };
    act(() => publish("screen s", screenUpdate(1, 1, [{ kind: "insert", at: 0, count: 1 }], [item])));
    expect(dom.getByText("hello")).toBeTruthy();
    const before = renders;
    const same = { ...screenUpdate(2, 1, [], [], true), timeline: { baseRev: 1, rev: 1, changes: [], rows: [], loaded: true } };
    act(() => publish("screen s", same));
    expect(dom.getByText("true")).toBeTruthy();
    expect(renders).toBe(before);
    act(() => publish("screen s", screenUpdate(3, 2, [{ kind: "grow", at: 0, text: " there" }], [])));
    expect(dom.getByText("hello there")).toBeTruthy();
  });

  it("an intent is followed to its outcome, which stays, and one that is not accepted says why", async () => {
    const { client, publish, counts } = rig();
    const sender = intents(client);
    expect(dom.getByText("idle")).toBeTruthy();
    await sender.send({ kind: "sendPrompt", agentId: "x", text: "hi" });
    expect(dom.getByText("pending")).toBeTruthy();
    act(() => publish("hosts", hosts(1, "a")));
    expect(dom.getByText("pending")).toBeTruthy();
    act(() => publish("hosts", withOutcome(2, { intentId: "intent-1", kind: OutcomeKind.Done, resultJson: '{"ok":true}' })));
    expect(sender.state()).toEqual({ status: "done", intentId: "intent-1", result: { ok: true } });
    // The library names the latest outcomes only.
    act(() => publish("hosts", hosts(3, "a")));
    expect(dom.getByText("done")).toBeTruthy();
    await sender.send({ kind: "archive", agentId: "x" });
    expect(sender.state()).toMatchObject({ status: "failed", error: { name: "BowlineError", message: "Error: refused here" } });
    expect(counts.opened).toBe(1);
  });

  it("an intent that is refused, or whose host is forgotten, does not stay pending", async () => {
    const { client, publish } = rig();
    const sender = intents(client);
    await sender.send({ kind: "sendPrompt", agentId: "x", text: "hi" });
    act(() => publish("hosts", withOutcome(1, { intentId: "intent-1", kind: OutcomeKind.Refused, detail: "no such agent" })));
    expect(sender.state()).toEqual({ status: "refused", intentId: "intent-1", message: "no such agent" });
    await sender.send({ kind: "sendPrompt", agentId: "x", text: "hi" });
    expect(dom.getByText("pending")).toBeTruthy();
    act(() => publish("hosts", hosts(2)));
    expect(sender.state()).toEqual({ status: "unknown", intentId: "intent-2" });
  });

  it("the last intent is followed, also when an earlier one is slower", async () => {
    const { client, slow } = rig();
    const sender = intents(client);
    let first: Promise<unknown> | undefined;
    await act(async () => void (first = sender.begin({ kind: "cancel", agentId: "slow" })));
    await sender.send({ kind: "sendPrompt", agentId: "x", text: "hi" });
    await act(async () => {
      slow.release();
      await first;
    });
    expect(sender.state()).toEqual({ status: "pending", intentId: "intent-1" });
  });

  it("an idle sender is not rendered anew when hosts change", async () => {
    const { client, publish } = rig();
    const sender = intents(client);
    const before = sender.renders();
    act(() => publish("hosts", hosts(1, "a")));
    expect(sender.renders()).toBe(before);
  });

  it("a screen that is re-targeted leaves the one before, and one whose source ends says why", async () => {
    const { client, publish, end, counts } = rig();
    const Overlay = ({ serverId }: { serverId: string }) => {
      const view = useAgentScreen(serverId, "agent");
      return <b>{view.failure?.kind ?? (view.ready ? "ready" : "unknown")}</b>;
    };
    const page = (serverId: string) => (
      <BowlineProvider client={client}>
        <Overlay serverId={serverId} />
      </BowlineProvider>
    );
    const view = render(page("s"));
    act(() => publish("screen s", screenUpdate(1, 1, [], [])));
    expect(dom.getByText("ready")).toBeTruthy();
    view.rerender(page("t"));
    expect(dom.getByText("unknown")).toBeTruthy();
    await until("the first one is left", () => counts.closed === 1);
    act(() => end("screen t", new BowlineError("UnknownHost", "the host was forgotten", Advice.Nothing)));
    expect(dom.getByText("UnknownHost")).toBeTruthy();
  });

  it("LD-10: a topic calls the newest callback with every batch, while it is mounted, and says how it is doing", async () => {
    const { client, publish, end, counts } = rig();
    const told: string[] = [];
    let status!: ReturnType<typeof useTopic>;
    const Edits = ({ name }: { name: string }) => {
      status = useTopic<string>("s", "voxel.edited", { project: 1 }, ({ missed, events }) => {
        if (missed) told.push("*");
        told.push(...events.map(({ body }) => `${name} ${body}`));
      });
      return <p>{status.state}</p>;
    };
    const tree = (name: string) => (
      <BowlineProvider client={client}>
        <Edits name={name} />
      </BowlineProvider>
    );
    const batch = (missed: boolean, ...bodies: string[]) => ({
      missed,
      events: bodies.map((body) => ({ key: "k", json: JSON.stringify(body), intentId: undefined })),
      state: TopicState.Following,
      error: undefined,
    });
    const view = render(tree("first"));
    expect(status.state).toBe(TopicState.Opening);
    act(() => publish("topic s voxel.edited", batch(false, "a")));
    expect(status).toEqual({ state: TopicState.Following, error: undefined, failure: undefined });
    view.rerender(tree("second"));
    act(() => {
      publish("topic s voxel.edited", batch(false, "b"));
      publish("topic s voxel.edited", batch(true, "c"));
    });
    expect(told).toEqual(["first a", "second b", "*", "second c"]);
    expect(counts).toEqual({ opened: 1, closed: 0 });
    act(() => end("topic s voxel.edited", new BowlineError("UnknownHost", "forgotten", Advice.Nothing)));
    expect(status.failure?.kind).toBe("UnknownHost");
    view.unmount();
    expect(counts).toEqual({ opened: 1, closed: 1 });
  });

  it("LD-2: a log is rendered as it grows, and its hook loads older items of the same log", async () => {
    const { client, publish, counts, loaded } = rig();
    let log!: ReturnType<typeof useLog<{ text: string }>>;
    const Notes = () => {
      log = useLog<{ text: string }>("s", "voxel.notes", { project: 1 });
      return <p>{log.items.map(({ value }) => value.text).join()}</p>;
    };
    const tree = () => (
      <BowlineProvider client={client}>
        <Notes />
      </BowlineProvider>
    );
    const view = render(tree());
    const insert = { kind: "insert", at: 0, count: 1 };
    const rows = [{ index: 7, json: '{"text":"a"}', growing: "text", omittedBytes: undefined, unreadable: false }];
    act(() => publish("log s voxel.notes", { rev: 1, changes: [insert], rows, first: 0, next: 8 }));
    expect(dom.getByText("a")).toBeTruthy();
    const before = log.loadOlder;
    const grow = { kind: "grow", at: 0, text: " door" };
    act(() => publish("log s voxel.notes", { baseRev: 1, rev: 2, changes: [grow], rows: [], first: 0, next: 8 }));
    expect(dom.getByText("a door")).toBeTruthy();
    view.rerender(tree());
    expect(log.loadOlder).toBe(before);
    await log.loadOlder();
    expect(loaded).toEqual([["voxel.notes", { project: 1 }]]);
    expect(counts.opened).toBe(1);
  });

  it("without a provider it says what is missing", () => {
    const Lost = () => <p>{useHosts().rev}</p>;
    expect(() => renderToString(<Lost />)).toThrow("BowlineProvider");
  });
});
