/** What the hand-written part promises of itself: nothing that a view holds drives a connection, and no second truth about one. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import * as react from "@bowline/react";
import * as bridge from "@bowline/runtime/bridge";
import { openBowline } from "@bowline/runtime";
import { folder } from "./support/folder.js";
import { workspace } from "./support/places.js";

const DRIVING = /^((re|dis)?connect(ed)?|open|dial|attach|detach|signal|tell|pause|resume|foreground|background|backendOf)$/i;

/** Everything that can be called on an object, from its own class down to where those of the language begin. */
function callable(object: object): string[] {
  const names = Object.getOwnPropertyNames(object);
  const parent = Object.getPrototypeOf(object) as object | null;
  return parent === null || parent === Object.prototype ? names : [...names, ...callable(parent)];
}

it("INV-7: nothing that a view holds connects, disconnects or says what the platform does", () => {
  const client = callable(bridge.BowlineClient.prototype);
  expect(client).toContain("send");
  expect(client.filter((name) => DRIVING.test(name))).toEqual([]);
  expect(Object.keys(bridge).filter((name) => DRIVING.test(name))).toEqual([]);
  expect(Object.keys(react).toSorted()).toEqual([
    "BowlineProvider",
    "useAgentScreen",
    "useBowline",
    "useDirectory",
    "useHost",
    "useHosts",
    "useIntent",
    "useLog",
    "useScreenFrame",
    "useStore",
    "useTable",
    "useTableRow",
    "useTimeline",
    "useTopic",
  ]);
});

it("INV-7: nor does what a process with the library holds, but for the suspension of the whole app", async () => {
  await using bowline = openBowline({ storageFolder: folder(), appName: "tests", appVersion: "1" });
  expect(callable(bowline).filter((name) => DRIVING.test(name)).toSorted()).toEqual(["pause", "resume"]);
});

it("INV-5: no source keeps a flag of its own about a connection", () => {
  const sources = ["runtime", "react"].flatMap((name) => {
    const folder = join(workspace, "packages", name, "src");
    return readdirSync(folder).filter((file) => file.endsWith(".ts")).map((file) => join(folder, file));
  });
  expect(sources.length).toBeGreaterThan(10);
  for (const source of sources) {
    expect(readFileSync(source, "utf8"), source).not.toMatch(/\bis_?(connected|online)\b|\b(connected|online)\s*[:=?]+\s*(boolean|true|false)/i);
  }
});
