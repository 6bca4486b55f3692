// @vitest-environment happy-dom
/** The hooks: StrictMode, tearing, unmount, server. */
import { act, cleanup, render, screen as dom } from "@testing-library/react";
import { StrictMode, startTransition, useState } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, describe, expect, it } from "vitest";
import { BowlineProvider, useAgentScreen, useDirectory, useHosts, useIntent, useTimeline } from "@bowline/react";
import { type Backend, BowlineClient } from "../packages/runtime/src/client.js";
import type { Source } from "../packages/runtime/src/store.js";
import { until } from "./support/waiting.js";

/** A backend that does as it is told. */
function rig() {
  const live = new Map<string, Set<(update: never) => void>>();
  const counts = { opened: 0, closed: 0 };
  const source = <U,>(topic: string): Source<U> => (onUpdate) => {
    const set = live.get(topic) ?? new Set();
    live.set(topic, set);
    set.add(onUpdate as (update: never) => void);
    counts.opened++;
    return () => {
      counts.closed++;
      set.delete(onUpdate as (update: never) => void);
    };
  };
  const nothing = async () => undefined as never;
  let sent = 0;
  const backend: Backend = {
    hosts: source("hosts"),
    directory: source("directory"),
    screen: (serverId) => source(`screen ${serverId}`),
    pair: nothing,
    forgetHost: nothing,
    send: async (_, intent) => {
      if (intent.kind === "archive") throw new Error("refused here");
      return `intent-${++sent}`;
    },
    providers: nothing,
    loadOlder: nothing,
    dismiss: nothing,
    refresh: nothing,
    selectPath: nothing,
    signal: nothing,
  };
  const publish = (topic: string, update: unknown) => {
    for (const onUpdate of live.get(topic) ?? []) onUpdate(update as never);
  };
  return { client: new BowlineClient(backend), publish, counts };
}

const hosts = (rev: number, ...names: string[]) => ({
  rev,
  hosts: names.map((name) => ({ serverId: name, name, rev, recentIntents: [] as unknown[] })),
});

const screenUpdate = (rev: number, timelineRev: number, changes: unknown[], overlay = false) => ({
  rev,
  serverId: "s",
  overlay,
  timeline: { baseRev: timelineRev > 1 ? timelineRev - 1 : undefined, rev: timelineRev, changes, loaded: true },
});

afterEach(cleanup);

describe("hooks", () => {
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
    act(() => publish("screen s", screenUpdate(1, 1, [{ tag: "Insert", inner: { at: 0, items: [item] } }])));
    expect(dom.getByText("hello")).toBeTruthy();
    const before = renders;
    const same = { ...screenUpdate(2, 1, [], true), timeline: { baseRev: 1, rev: 1, changes: [], loaded: true } };
    act(() => publish("screen s", same));
    expect(dom.getByText("true")).toBeTruthy();
    expect(renders).toBe(before);
    act(() => publish("screen s", screenUpdate(3, 2, [{ tag: "Grow", inner: { at: 0, text: " there" } }])));
    expect(dom.getByText("hello there")).toBeTruthy();
  });

  it("an intent is followed to its outcome, and one that is not accepted says why", async () => {
    const { client, publish } = rig();
    let send: ReturnType<typeof useIntent>[0] | undefined;
    const Sender = () => {
      const [sendIntent, state] = useIntent("a");
      send = sendIntent;
      return <p>{state.status}</p>;
    };
    render(
      <BowlineProvider client={client}>
        <Sender />
      </BowlineProvider>,
    );
    expect(dom.getByText("idle")).toBeTruthy();
    await act(async () => void (await send!({ kind: "sendPrompt", agentId: "x", text: "hi" })));
    expect(dom.getByText("pending")).toBeTruthy();
    const outcome = { intentId: "intent-1", kind: 0, resultJson: '{"ok":true}' };
    const update = hosts(1, "a");
    update.hosts[0]!.recentIntents.push(outcome);
    act(() => publish("hosts", update));
    expect(dom.getByText("done")).toBeTruthy();
    await act(async () => void (await send!({ kind: "archive", agentId: "x" })));
    expect(dom.getByText("failed")).toBeTruthy();
  });

  it("without a provider it says what is missing", () => {
    const Lost = () => <p>{useHosts().rev}</p>;
    expect(() => renderToString(<Lost />)).toThrow("BowlineProvider");
  });
});
