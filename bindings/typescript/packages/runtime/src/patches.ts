/** What an intent is expected to change in rows of followed tables, or to add to followed logs (LD-3). Nothing here is native. */

/** A change that is expected of one row, or of the log `table`, which has no key. Plain data: it crosses a bridge, and the library keeps it with the intent. */
export type Patch = { readonly table: string; readonly params: object; readonly key: string } & (
  | { readonly change: "upsert" | "merge" | "append"; readonly value: unknown }
  | { readonly change: "remove" }
);

/** Says what an intent is expected to change. `params` are those with which the table or log is followed. */
export interface Show {
  /** The row has this value, whether or not it was there. */
  upsert(table: string, params: object, key: string, value: unknown): Show;
  /** These members of the row's value are replaced or added. Without a row nothing is shown. */
  merge(table: string, params: object, key: string, members: object): Show;
  /** An item with this value is added at the end of the log. */
  append(log: string, params: object, value: unknown): Show;
  /** The row is gone. */
  remove(table: string, params: object, key: string): Show;
}

/** What a caller's function says. */
export function patchesOf(say: ((show: Show) => unknown) | undefined): Patch[] {
  const patches: Patch[] = [];
  const show: Show = {
    upsert(table, params, key, value) {
      patches.push({ table, params, key, change: "upsert", value });
      return show;
    },
    merge(table, params, key, value) {
      patches.push({ table, params, key, change: "merge", value });
      return show;
    },
    append(log, params, value) {
      patches.push({ table: log, params, key: "", change: "append", value });
      return show;
    },
    remove(table, params, key) {
      patches.push({ table, params, key, change: "remove" });
      return show;
    },
  };
  say?.(show);
  return patches;
}
