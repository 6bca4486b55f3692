/** Folders of a test's own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A new folder, which goes with the test. */
export function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "bowline-ts-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}
