/** The table of cases that the suites of all languages run: `bindings/cases/lists.txt`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { workspace } from "./places.js";

/** One update of a list. */
export interface Step {
  base: number | undefined;
  rev: number;
  changes: never[];
  rows: string[];
  /** What the list shows then; undefined if the update is refused. */
  shows: string[] | undefined;
}

export interface ListCase {
  lists: string;
  name: string;
  steps: Step[];
}

const words = (text: string) => text.split(" ").filter((word) => word !== "");

function changeOf(text: string): never {
  const [what, at, more] = words(text);
  const place = { kind: what, at: Number(at) };
  return (what === "grow" ? { ...place, text: more } : what === "update" ? place : { ...place, count: Number(more) }) as never;
}

function stepOf(line: string): Step {
  const cells = line.split("|").map((cell) => cell.trim());
  if (cells.length !== 5) throw new Error(`not five cells: ${line}`);
  const [base, rev, changes, rows, shows] = cells as [string, string, string, string, string];
  return {
    base: base === "-" ? undefined : Number(base),
    rev: Number(rev),
    changes: changes.split(";").filter((change) => change !== "").map(changeOf),
    rows: words(rows),
    shows: shows === "misfit" ? undefined : words(shows),
  };
}

/** The cases for lists of that kind. */
export function listCases(kind: "growing" | "fixed"): ListCase[] {
  const text = readFileSync(join(workspace, "../cases/lists.txt"), "utf8");
  const [, ...cases] = text.split(/^== /m);
  const parsed = cases.map((text) => {
    const [head, ...lines] = text.split("\n");
    const [lists, name] = head!.split(": ") as [string, string];
    return { lists, name, steps: lines.filter((line) => line !== "").map(stepOf) };
  });
  return parsed.filter(({ lists }) => lists === "every" || lists === kind);
}
