/** The library through Node: listeners that misbehave, memory, storage that is lost, libraries that do not fit. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync, chmodSync } from "node:fs";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { BowlineError, loadLibrary, openBowline, Rehearsal, subscribeLogs } from "@bowline/runtime";
import { EndReason, type HostsSnapshot } from "../packages/runtime/src/generated/bowline.js";
import { checkAbi } from "../packages/runtime/src/open.js";
import { workspace } from "./support/places.js";
import { shown, until } from "./support/waiting.js";

const folders: string[] = [];
function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "bowline-ts-"));
  folders.push(made);
  return made;
}

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

/** Runs a module in a process of its own, on the built package. */
function child(name: string, ...args: string[]): Promise<{ code: number | null; signal: string | null; out: string }> {
  const flags = ["--expose-gc", join(workspace, "tests/children", name), ...args];
  const started = spawn(process.execPath, flags, { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  started.stdout.on("data", (text) => (out += text));
  started.stderr.on("data", (text) => (out += text));
  const timer = setTimeout(() => started.kill("SIGKILL"), 50_000);
  return new Promise((resolve) =>
    started.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, out });
    }),
  );
}

beforeAll(() => loadLibrary());
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true, force: true });
});

describe("listeners", () => {
  it("one that throws is called again, and let go after sixteen failures in a row", async () => {
    const rehearsal = new Rehearsal(1, 0);
    let calls = 0;
    const subscription = rehearsal.subscribeHosts({
      onHosts() {
        calls++;
        throw new Error("a defect of the app");
      },
    });
    const beat = setInterval(() => rehearsal.renameHost(String(calls)), 2);
    expect(await subscription.ended()).toBe(EndReason.ListenerFailed);
    clearInterval(beat);
    expect(calls).toBe(16);
    expect(subscription.isEnding()).toBe(true);
  });

  it("one that fails now and then stays", async () => {
    const rehearsal = new Rehearsal(1, 0);
    let calls = 0;
    const subscription = rehearsal.subscribeHosts({
      onHosts() {
        if (++calls % 2 === 0) throw new Error("now and then");
      },
    });
    const beat = setInterval(() => rehearsal.renameHost(String(calls)), 1);
    await until("it is called often", () => calls >= 60);
    clearInterval(beat);
    expect(subscription.isEnding()).toBe(false);
    subscription.cancel();
    await subscription.ended();
  });

  it("a callback may call the library: publish, subscribe, cancel itself", async () => {
    const rehearsal = new Rehearsal(1, 0);
    const names: string[] = [];
    let inner: ReturnType<typeof rehearsal.subscribeHosts> | undefined;
    const subscription = rehearsal.subscribeHosts({
      onHosts(snapshot) {
        names.push(snapshot.hosts[0]!.name);
        if (names.length === 1) {
          rehearsal.renameHost("again");
          inner = rehearsal.subscribeHosts({ onHosts() {} });
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
    const rehearsal = new Rehearsal(1, 0);
    for (let round = 0; round < 50; round++) {
      let calls = 0;
      const subscription = rehearsal.subscribeHosts({ onHosts: () => void calls++ });
      void rehearsal.burst(200, 0);
      subscription.cancel();
      await subscription.ended();
      const then = calls;
      await rehearsal.burst(200, 0);
      expect(calls).toBe(then);
    }
  });

  it("a slow one gets fewer and newer values, and the last one", async () => {
    const rehearsal = new Rehearsal(3, 0);
    let calls = 0;
    let last: HostsSnapshot | undefined;
    const subscription = rehearsal.subscribeHosts({
      onHosts(snapshot) {
        calls++;
        last = snapshot;
        const end = performance.now() + 10;
        while (performance.now() < end);
      },
    });
    await rehearsal.burst(100_000, 100_000);
    await until("the last one comes", () => last?.hosts[0]?.name === "100000");
    expect(calls).toBeLessThan(2_000);
    expect(last!.rev).toBe(100_001);
    subscription.cancel();
    await subscription.ended();
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

  it("a forgotten cancel ends with the garbage collector", async () => {
    const { code, out } = await child("forgotten.mjs");
    expect(out).toContain("gone");
    expect(code).toBe(0);
  });
});

describe("storage and identity", () => {
  it("INV-9: a corrupt identity is an error that names the file, and the file stays", async () => {
    const storage = folder();
    await openBowline(options(storage)).close();
    const profile = join(storage, "profile.json");
    writeFileSync(profile, "{}");
    const error = thrown(() => openBowline(options(storage)));
    expect(error).toMatchObject({ kind: "CorruptStorage", advice: "CheckStorage" });
    expect(error.message).toContain("profile.json");
    expect(readFileSync(profile, "utf8")).toBe("{}");
  });

  it("INV-9: an identity that is missing or malformed in a call is a typed error", async () => {
    const bowline = openBowline(options(folder()));
    const send = (serverId: string, agentId: string) => bowline.send(serverId, { kind: "cancel", agentId });
    await expect(send("", "a")).rejects.toMatchObject({ kind: "InvalidIdentity", advice: "Report" });
    await expect(send("srv_short", "a")).rejects.toMatchObject({ kind: "InvalidIdentity" });
    const unknown = `srv_${"a".repeat(26)}`;
    await expect(send(unknown, "")).rejects.toMatchObject({ kind: "InvalidIdentity" });
    await expect(send(unknown, "agt_1")).rejects.toMatchObject({ kind: "UnknownHost" });
    await expect(bowline.pair("https://example.org")).rejects.toMatchObject({ kind: "InvalidOffer" });
    await bowline.close();
    await expect(send(unknown, "agt_1")).rejects.toMatchObject({ kind: "Disposed" });
  });

  it("an unwritable folder is a typed error", () => {
    const storage = join(folder(), "file");
    writeFileSync(storage, "no folder");
    chmodSync(storage, 0o400);
    expect(thrown(() => openBowline(options(storage)))).toMatchObject({ kind: "Storage", advice: "CheckStorage" });
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
    expect(kept).toContain("clientSessionKey");
    locked = true;
    const error = thrown(() => openBowline({ ...options(storage), keyStore }));
    expect(error.kind).toBe("Storage");
    expect(error.message).toContain("locked");
    locked = false;
    await openBowline({ ...options(storage), keyStore }).close();
    expect(Buffer.from(values.get("profile.json")!).toString()).toBe(kept);
  });

  it("pause refuses intents with a typed error, and resume takes them again", async () => {
    const bowline = openBowline(options(folder()));
    await bowline.pause();
    await bowline.resume();
    const hosts = await shown("the hosts", bowline.hosts, (view) => view.ready);
    expect(hosts.hosts).toEqual([]);
    await bowline.close();
  });
});

describe("the library itself", () => {
  it("another library than the bindings were made for is a typed error", () => {
    expect(thrown(() => checkAbi("bowline-ffi 0.0.1 0", "bowline-ffi 0.1.0 1"))).toMatchObject({
      kind: "LibraryMismatch",
      advice: "Report",
    });
  });

  it("a missing one, or a file that is none, is a typed error", async () => {
    const file = join(folder(), "libbowline_ffi.so");
    writeFileSync(file, "no library");
    for (const path of [file, join(folder(), "absent.so")]) {
      const { code, out } = await child("missing.mjs", path);
      expect(out).toContain("LibraryMissing");
      expect(code).toBe(0);
    }
  });

  it("its log comes in batches, with the level that was asked for", async () => {
    const lines: string[] = [];
    const end = subscribeLogs("warn", (batch) => lines.push(...batch.records.map((record) => record.message)));
    const rehearsal = new Rehearsal(1, 0);
    const failing = rehearsal.subscribeHosts({
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
