/** The library through Node: listeners that misbehave, memory, storage that is lost, libraries that do not fit. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beforeAll, describe, expect, it } from "vitest";
import {
  Advice,
  ADVICE_TEXTS,
  BowlineError,
  loadLibrary,
  openBowline,
  Path,
  preview,
  PreviewData,
  Reach,
  subscribeLogs,
  waitFor,
} from "@bowline/runtime";
import { adviceText, EndReason, endAdvice, endText, type HostsSnapshot } from "../packages/runtime/src/generated/bowline.js";
import { platform } from "../packages/runtime/src/native.js";
import { child } from "./support/child.js";
import { folder } from "./support/folder.js";
import { libraryPath } from "./support/places.js";
import { until } from "./support/waiting.js";

const options = (storageFolder: string) => ({ storageFolder, appName: "tests", appVersion: "1" });

function thrown(call: () => unknown): BowlineError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(BowlineError);
    return error as BowlineError;
  }
  throw new Error("it did not throw");
}

beforeAll(() => loadLibrary());

describe("listeners", () => {
  it("one that throws is called again, and let go after sixteen failures in a row", async () => {
    const preview = new PreviewData(1, 0);
    let calls = 0;
    const subscription = preview.subscribeHosts({
      onHosts() {
        calls++;
        throw new Error("a defect of the app");
      },
    });
    const beat = setInterval(() => preview.renameHost(String(calls)), 2);
    expect(await subscription.ended()).toBe(EndReason.ListenerFailed);
    clearInterval(beat);
    expect(calls).toBe(16);
    expect(subscription.isEnding()).toBe(true);
  });

  it("one that fails now and then stays", async () => {
    const preview = new PreviewData(1, 0);
    let calls = 0;
    const subscription = preview.subscribeHosts({
      onHosts() {
        if (++calls % 2 === 0) throw new Error("now and then");
      },
    });
    const beat = setInterval(() => preview.renameHost(String(calls)), 1);
    await until("it is called often", () => calls >= 60);
    clearInterval(beat);
    expect(subscription.isEnding()).toBe(false);
    subscription.cancel();
    await subscription.ended();
  });

  it("a callback may call the library: publish, subscribe, cancel itself", async () => {
    const preview = new PreviewData(1, 0);
    const names: string[] = [];
    let inner: ReturnType<typeof preview.subscribeHosts> | undefined;
    const subscription = preview.subscribeHosts({
      onHosts(snapshot) {
        names.push(snapshot.hosts[0]!.name);
        if (names.length === 1) {
          preview.renameHost("again");
          inner = preview.subscribeHosts({ onHosts() {} });
        } else {
          subscription.cancel();
          subscription.cancel();
        }
      },
    });
    expect(await subscription.ended()).toBe(EndReason.Cancelled);
    expect(names).toEqual(["host 0", "again"]);
    inner!.cancel();
    expect(await inner!.ended()).toBe(EndReason.Cancelled);
  });

  it("nothing is called after `ended`", async () => {
    const preview = new PreviewData(1, 0);
    for (let round = 0; round < 50; round++) {
      let calls = 0;
      const subscription = preview.subscribeHosts({ onHosts: () => void calls++ });
      void preview.burst(200, 0);
      subscription.cancel();
      await subscription.ended();
      const then = calls;
      await preview.burst(200, 0);
      expect(calls).toBe(then);
    }
  });

  it("a slow one gets fewer and newer values, and the last one", async () => {
    const preview = new PreviewData(3, 0);
    let calls = 0;
    let last: HostsSnapshot | undefined;
    const subscription = preview.subscribeHosts({
      onHosts(snapshot) {
        calls++;
        last = snapshot;
        const end = performance.now() + 10;
        while (performance.now() < end);
      },
    });
    await preview.burst(100_000, 100_000);
    await until("the last one comes", () => last?.hosts[0]?.name === "100000");
    expect(calls).toBeLessThan(2_000);
    expect(last!.rev).toBe(100_001);
    subscription.cancel();
    await subscription.ended();
  });
});

describe("clients", () => {
  it("one may be closed from inside of a callback, any number of times, and says so from then on", async () => {
    for (let round = 0; round < 20; round++) {
      const bowline = openBowline(options(folder()));
      const failures: (string | undefined)[] = [];
      const closed = new Promise<void>((resolve) => {
        bowline.hosts.subscribe(() => {
          failures.push(bowline.hosts.getSnapshot().failure?.kind);
          void bowline.close();
          resolve(bowline.close());
        });
      });
      // Under way while it ends.
      const screen = bowline.screen(`srv_${"a".repeat(26)}`, { agentId: "agt_1" });
      screen.subscribe(() => {});
      await closed;
      expect(failures).toEqual([undefined, "Disposed"]);
      expect(screen.getSnapshot().failure?.kind).toBe("Disposed");
      expect(bowline.screen("srv_1", { agentId: "late" }).getSnapshot().failure?.kind).toBe("Disposed");
      await expect(bowline.pause()).rejects.toMatchObject({ kind: "Disposed" });
      await expect(bowline.refresh()).rejects.toMatchObject({ kind: "Disposed" });
    }
  });

  it("a wait for a store ends with the client", async () => {
    const bowline = openBowline(options(folder()));
    const waiting = waitFor(bowline.hosts, () => false);
    const asked = expect(waiting).rejects.toMatchObject({ kind: "Disposed" });
    await bowline.close();
    await asked;
  });

  it("a screen of a host that is not known says so in its value", async () => {
    await using bowline = openBowline(options(folder()));
    const screen = bowline.screen(`srv_${"a".repeat(26)}`, { agentId: "agt_00000000-0000-7000-8000-000000000000" });
    await expect(waitFor(screen, (view) => view.ready)).rejects.toMatchObject({ kind: "UnknownHost" });
    const malformed = bowline.screen("nobody", { agentId: "x" });
    await expect(waitFor(malformed, (view) => view.ready)).rejects.toMatchObject({ kind: "InvalidIdentity" });
  });

  it("a screen is the same store while somebody holds it, and is forgotten then", async () => {
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const client = preview(new PreviewData(1, 3));
    const target = { agentId: "agent" };
    let runs = 0;
    await (async () => {
      const screen = client.screen("host", target);
      expect(client.screen("host", { ...target })).toBe(screen);
      const { subscribe } = screen;
      const end = subscribe(() => void runs++);
      await until("it has its items", () => client.screen("host", target).getSnapshot().timeline.items.length === 3);
      end();
    })();
    await until("it is forgotten", () => {
      gc();
      return !client.screen("host", target).getSnapshot().ready;
    });
    expect(runs).toBe(1);
  });

  it("a screen that only its subscriber holds goes on", async () => {
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const data = new PreviewData(1, 3);
    const client = preview(data);
    let runs = 0;
    const end = (() => client.screen("host", { agentId: "agent" }).subscribe(() => void runs++))();
    await until("it has its items", () => runs === 1);
    for (let n = 0; n < 5; n++) {
      gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
    data.append("one more");
    await until("it hears of it", () => runs === 2);
    expect(client.screen("host", { agentId: "agent" }).getSnapshot().timeline.items.length).toBe(4);
    end();
  });
});

describe("memory and exit", () => {
  it("10,000 subscriptions and 1,000,000 updates leave nothing behind", async () => {
    const { code, out } = await child("memory.mjs");
    expect(out).toContain("flat");
    expect(code).toBe(0);
  });

  for (const how of ["exit", "end", "throw"]) {
    it(`a process that is subscribed can ${how}`, async () => {
      const { code, signal, out } = await child("exit.mjs", how);
      expect({ code, signal, out }).toMatchObject({ code: how === "throw" ? 1 : 0, signal: null });
    });
  }

  it("a call that is waited for keeps the process; a client nobody closed and a log do not", async () => {
    const { code, signal, out } = await child("alone.mjs", folder());
    expect({ code, signal, out }).toEqual({ code: 0, signal: null, out: "Unreachable\nthe end\n" });
  });

  it("a forgotten cancel ends with the garbage collector", async () => {
    const { code, out } = await child("forgotten.mjs");
    expect(out).toContain("gone");
    expect(code).toBe(0);
  });
});

describe("what people are told", () => {
  it("each advice has its text, the same as in the other languages, and each end says why", () => {
    const names = Object.values(Advice).filter((advice) => typeof advice === "number");
    expect(names.length).toBe(Object.keys(ADVICE_TEXTS).length);
    for (const advice of names) {
      expect(ADVICE_TEXTS[advice]).toBe(adviceText(advice as number));
      expect(ADVICE_TEXTS[advice] === "").toBe(advice === Advice.Nothing);
    }
    const again = Object.values(EndReason).filter((end) => typeof end === "number" && endAdvice(end) === Advice.TryAgain.valueOf());
    expect(again).toEqual([EndReason.TooMany, EndReason.Busy]);
    expect(endText(EndReason.HostGone)).toContain("forgotten");
  });
});

describe("storage and identity", () => {
  it("INV-9: a corrupt identity is an error that names the file, and the file stays", async () => {
    const storage = folder();
    await openBowline(options(storage)).close();
    const profile = join(storage, "profile.json");
    writeFileSync(profile, "{}");
    const error = thrown(() => openBowline(options(storage)));
    expect(error).toMatchObject({ kind: "CorruptStorage", advice: Advice.CheckStorage });
    expect(error.message).toContain("profile.json");
    expect(readFileSync(profile, "utf8")).toBe("{}");
  });

  it("INV-9: an identity that is missing or malformed in a call is a typed error", async () => {
    const bowline = openBowline(options(folder()));
    const send = (serverId: string, agentId: string) => bowline.send(serverId, { kind: "cancel", agentId });
    await expect(send("", "a")).rejects.toMatchObject({ kind: "InvalidIdentity", advice: Advice.Report });
    await expect(send("srv_short", "a")).rejects.toMatchObject({ kind: "InvalidIdentity" });
    const unknown = `srv_${"a".repeat(26)}`;
    await expect(send(unknown, "")).rejects.toMatchObject({ kind: "InvalidIdentity" });
    await expect(send(unknown, "agt_1")).rejects.toMatchObject({ kind: "UnknownHost" });
    await expect(bowline.pair("https://example.org")).rejects.toMatchObject({ kind: "InvalidOffer" });
    await bowline.close();
    await expect(send(unknown, "agt_1")).rejects.toMatchObject({ kind: "Disposed" });
  });

  it("TR-14: an offer is inspected before it is confirmed, and one that was tampered with is an error", async () => {
    const bowline = openBowline(options(folder()));
    const serverId = `srv_${"a".repeat(26)}`;
    const keys = `k=${"A".repeat(43)}&t=${"A".repeat(22)}`;
    const link = `bowline://pair?v=1&s=${serverId}&${keys}&n=workshop&d=192.168.1.5:4717&r=wss://relay.example.org`;
    const offer = await bowline.inspectOffer(link);
    expect(offer).toMatchObject({ serverId, name: "workshop", host: { kind: "unknown" } });
    expect(offer.addresses).toEqual([
      { path: Path.Direct, address: "192.168.1.5:4717", reach: Reach.Private },
      { path: Path.Relay, address: "wss://relay.example.org", reach: Reach.Public },
    ]);
    for (const wrong of [`${link}#x`, link.replace("workshop", "work%1Bshop"), link.replace("wss:", "https:")])
      await expect(bowline.inspectOffer(wrong)).rejects.toMatchObject({ kind: "InvalidOffer" });
    await bowline.close();
  });

  it.skipIf(process.platform === "win32")("TR-11: a folder that others may write to is a typed error", () => {
    const storage = folder();
    chmodSync(storage, 0o777);
    const error = thrown(() => openBowline(options(storage)));
    expect(error).toMatchObject({ kind: "StorageNotPrivate", advice: Advice.CheckStorage });
    expect(error.message).toContain("chmod 700");
  });

  it("an unwritable folder is a typed error", () => {
    const storage = join(folder(), "file");
    writeFileSync(storage, "no folder");
    chmodSync(storage, 0o400);
    expect(thrown(() => openBowline(options(storage)))).toMatchObject({ kind: "Storage", advice: Advice.CheckStorage });
  });

  it("the app's key store holds the identity, and one that is locked is no reason for a new one", async () => {
    const storage = folder();
    const values = new Map<string, Uint8Array>();
    let locked = false;
    const keyStore = {
      read(name: string) {
        if (locked) throw new Error("the keychain is locked");
        return values.get(name);
      },
      write(name: string, value: Uint8Array) {
        values.set(name, value.slice());
      },
    };
    await openBowline({ ...options(storage), keyStore }).close();
    const kept = Buffer.from(values.get("profile.json")!).toString();
    expect(kept).toContain("secret");
    locked = true;
    const error = thrown(() => openBowline({ ...options(storage), keyStore }));
    expect(error.kind).toBe("Storage");
    expect(error.message).toContain("locked");
    locked = false;
    await openBowline({ ...options(storage), keyStore }).close();
    expect(Buffer.from(values.get("profile.json")!).toString()).toBe(kept);
  });
});

describe("the library itself", () => {
  /** Opens a client with that library, in a process of its own. */
  const opened = async (library: string): Promise<string> => {
    const { code, signal, out } = await child("load.mjs", library, folder());
    expect({ code, signal, out }).toMatchObject({ code: 0, signal: null });
    return out;
  };

  it("one of another version under these bindings is a typed error, and the right one opens", async () => {
    expect(await opened(libraryPath())).toBe("opened\n");
    const old = join(folder(), "libbowline_ffi.so");
    // In all but what it says of itself it is the same one.
    const bytes = readFileSync(libraryPath()).toString("latin1");
    const changed = bytes.replaceAll("bowline-ffi 0.", "bowline-ffi 9.");
    expect(changed).not.toBe(bytes);
    writeFileSync(old, changed, "latin1");
    const said = await opened(old);
    expect(said).toContain("LibraryMismatch Report: ");
    expect(said).toMatch(/bowline-ffi 9\.\S+ \w+, not bowline-ffi 0\./);
  });

  it("one without the functions that these bindings call is a typed error", async () => {
    // A library that can be loaded, and is another one altogether.
    const other = createRequire(import.meta.url).resolve(`@bowline/runtime-${platform()}/addon.node`);
    expect(await opened(other)).toContain("LibraryMismatch Report: ");
  });

  it("a missing one, or a file that is none, is a typed error", async () => {
    const file = join(folder(), "libbowline_ffi.so");
    writeFileSync(file, "no library");
    for (const path of [file, join(folder(), "absent.so")]) expect(await opened(path)).toContain("LibraryMissing Report: ");
  });

  it("opens in one thread at a time, a worker or the main one, which keeps its listeners", async () => {
    const { code, signal, out } = await child("worker.mjs", folder());
    expect({ code, signal, out }).toEqual({ code: 0, signal: null, out: "worker: 0 hosts\nworker: 0 hosts\nworker: OtherThread\nmain: told\n" });
  });

  it("its log comes in batches, with the level that was asked for", async () => {
    const lines: string[] = [];
    const end = subscribeLogs("warn", (batch) => lines.push(...batch.records.map((record) => record.message)));
    const preview = new PreviewData(1, 0);
    const failing = preview.subscribeHosts({
      onHosts() {
        throw new Error("on purpose");
      },
    });
    await until("the failure is logged", () => lines.some((line) => line.includes("a callback failed")));
    end();
    failing.cancel();
    await failing.ended();
  });
});
