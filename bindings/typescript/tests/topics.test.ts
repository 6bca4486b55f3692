/** Events of a service's topic in an app (LD-10): the queue by itself, and a real daemon that has one: `daemon/examples/voxel.rs`. */
import { describe, expect, it } from "vitest";
import { Advice, BowlineError, type TopicBatch, TopicState } from "@bowline/runtime";
import type { TopicUpdate } from "../packages/runtime/src/shapes.js";
import { TopicEnds, topicOf } from "../packages/runtime/src/topic.js";
import { castle } from "./support/castle.js";
import { DIRECT } from "./support/world.js";

/** A topic whose library is this test. */
function rig() {
  const runs: { onUpdate: (update: TopicUpdate) => void; onEnd: (error: BowlineError) => void; ended: boolean }[] = [];
  const ends = new TopicEnds();
  const topic = topicOf<number>((onUpdate, onEnd) => {
    const run = { onUpdate, onEnd, ended: false };
    runs.push(run);
    return () => void (run.ended = true);
  }, ends);
  const tell = (missed: boolean, ...bodies: number[]) => {
    const events = bodies.map((body) => ({ key: "k", json: JSON.stringify(body), intentId: undefined }));
    runs.at(-1)!.onUpdate({ missed, events, state: TopicState.Following, error: undefined });
  };
  return { topic, tell, runs, ends };
}

/** Each batch as its bodies, after an asterisk if some may be missing. */
const text = ({ missed, events }: TopicBatch<number>) => (missed ? "*" : "") + events.map(({ body }) => body).join(" ");

describe("a topic", () => {
  it("LD-10: gives each callback every batch, and one that throws the next one all the same", () => {
    const { topic, tell, runs } = rig();
    const [one, other]: [string[], string[]] = [[], []];
    const end = topic.subscribe((batch) => {
      one.push(text(batch));
      if (one.length === 1) throw new Error("in a callback");
    });
    tell(false, 1);
    tell(true, 2, 3);
    const endOther = topic.subscribe((batch) => other.push(text(batch)));
    tell(false, 4);
    end();
    tell(false, 5);
    expect([one, other]).toEqual([["1", "*2 3"], ["4", "5"]]);
    endOther();
    expect(runs.map(({ ended }) => ended)).toEqual([true, true]);
  });

  it("LD-10: an iteration that is slow gets every batch, and is told what was dropped at the bound", async () => {
    const { topic, tell, runs } = rig();
    const batches = topic[Symbol.asyncIterator]();
    const first = batches.next();
    tell(false, 0);
    expect(text((await first).value)).toBe("0");
    tell(false, 1);
    tell(true, 2);
    for (const expected of ["1", "*2"]) expect(text((await batches.next()).value)).toBe(expected);
    for (let n = 0; n < 5_000; n++) tell(false, n);
    const rest: string[] = [];
    while (rest.at(-1) !== "4999") rest.push(text((await batches.next()).value));
    expect([rest.length, rest[0], rest[1]]).toEqual([4_096, "*904", "905"]);
    // Those without an event as well.
    for (let n = 0; n < 5_000; n++) tell(false);
    tell(false, 1);
    let count = 1;
    while (text((await batches.next()).value) !== "1") count += 1;
    expect(count).toBe(4_096);
    await batches.return!();
    expect(runs[0]!.ended).toBe(true);
  });

  it("LD-10: each of several waiting calls of `next` gets a batch or the end", { timeout: 5_000 }, async () => {
    const { topic, tell, ends } = rig();
    const batches = topic[Symbol.asyncIterator]();
    const both = [batches.next(), batches.next()];
    tell(false, 1);
    tell(false, 2);
    expect((await Promise.all(both)).map(({ value }) => text(value))).toEqual(["1", "2"]);
    const [one, other] = [batches.next(), batches.next()];
    tell(false, 3);
    expect(text((await one).value)).toBe("3");
    tell(false, 4);
    expect(text((await other).value)).toBe("4");
    const last = [batches.next(), batches.next()];
    await batches.return!();
    expect((await Promise.all(last)).map(({ done }) => done)).toEqual([true, true]);

    const failing = topic[Symbol.asyncIterator]();
    const failed = Promise.allSettled([failing.next(), failing.next()]);
    ends.dispose();
    expect((await failed).map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
  });

  it("what ended for lack of room is begun again with a mark, and anything else is the end", async () => {
    const { topic, tell, runs, ends } = rig();
    const seen: string[] = [];
    const failures: BowlineError[] = [];
    topic.subscribe((batch) => seen.push(text(batch)), (failure) => failures.push(failure));
    tell(false, 1);
    runs[0]!.onEnd(new BowlineError("TooMany", "no room", Advice.TryAgain));
    await expect.poll(() => runs.length).toBe(2);
    tell(false, 2);
    expect([seen, failures]).toEqual([["1", "*2"], []]);
    runs[1]!.onEnd(new BowlineError("UnknownHost", "forgotten", Advice.Nothing));
    expect(failures.map(({ kind }) => kind)).toEqual(["UnknownHost"]);

    const iterating = (async () => {
      for await (const _ of topic);
    })();
    ends.dispose();
    await expect(iterating).rejects.toMatchObject({ kind: "Disposed" });
    topic.subscribe(() => {}, (failure) => failures.push(failure));
    expect(failures.map(({ kind }) => kind)).toEqual(["UnknownHost", "Disposed"]);
    expect(runs.slice(1).every(({ ended }) => ended)).toBe(true);
  });
});

interface Edit {
  added?: string;
  removed?: string;
}

describe("with a daemon", () => {
  it("LD-10: every event comes once and in order over a cut, and a refusal says why", async () => {
    const { world, bowline, serverId, project, send } = await castle();
    const told: string[] = [];
    const intents: (string | undefined)[] = [];
    const batches = bowline.topic<Edit>(serverId, "voxel.edited", { project })[Symbol.asyncIterator]();
    const until = async (wanted: (batch: TopicBatch<Edit>) => boolean) => {
      for (;;) {
        const batch: TopicBatch<Edit> = (await batches.next()).value;
        if (batch.missed) told.push("*");
        for (const { key, body, intentId } of batch.events) {
          expect(key).toBe(project);
          told.push(body.added ?? `-${body.removed}`);
          intents.push(intentId);
        }
        if (wanted(batch)) return;
      }
    };
    await until(({ state }) => state === TopicState.Following);
    const sent = [await send("voxel.add_layer", { layer: "walls" })];
    await until(() => told.includes("walls"));

    await world.cut(DIRECT);
    await until(({ state }) => state === TopicState.Interrupted);
    sent.push(await send("voxel.add_layer", { layer: "roof" }));
    sent.push(await send("voxel.remove_layer", { layer: "walls" }));
    await world.heal(DIRECT);
    await until(() => told.includes("-walls"));
    expect(told).toEqual(["walls", "roof", "-walls"]);
    expect(intents).toEqual(sent);
    await batches.return!();

    for await (const { state, error } of bowline.topic(serverId, "voxel.nothing")) {
      if (state !== TopicState.Refused) continue;
      expect(error?.kind).toBe("notFound");
      break;
    }
  });
});
