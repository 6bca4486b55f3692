/**
 * A client with artificial hosts, tables, logs and an artificial agent, for previews and tests: no network, no storage.
 */
import type * as Generated from "./generated/bowline.ts";
import { Advice } from "./generated/enums.ts";
import { type Native, sourceOf } from "./bind.ts";
import { type Backend, BowlineClient } from "./client.ts";
import { BowlineError } from "./errors.ts";
import type { DirectoryUpdate } from "./shapes.ts";

/** A client that shows what a preview does. Its calls fail with `NotConnected`. */
export function previewClient(native: Native, preview: Generated.PreviewDataLike): BowlineClient {
  const hosts = sourceOf<Generated.HostsSnapshot>(native, (onHosts) => preview.subscribeHosts({ onHosts }));
  const refuse = async (): Promise<never> => {
    throw new BowlineError("NotConnected", "there is nobody behind a preview", Advice.Nothing);
  };
  const nobody: DirectoryUpdate = {
    baseRev: undefined,
    rev: 1,
    changes: [],
    rows: [],
    loading: false,
    hosts: [],
  };
  const backend: Backend = {
    hosts,
    directory: (onUpdate) => {
      onUpdate(nobody);
      return () => {};
    },
    screen: (serverId, target) => {
      const agentId = "agentId" in target ? target.agentId : undefined;
      return sourceOf<Generated.ScreenUpdate>(native, (onScreen) => preview.subscribeScreen(serverId, agentId, { onScreen }));
    },
    table: (_, name) => sourceOf<Generated.TableUpdate>(native, (onTable) => preview.subscribeTable(name, { onTable })),
    log: (_, name) => sourceOf<Generated.LogUpdate>(native, (onItems) => preview.subscribeLog(name, { onItems })),
    topic: () => () => () => {},
    blob: () => (_, onEnd) => {
      onEnd(new BowlineError("NotConnected", "there is nobody behind a preview", Advice.Nothing));
      return () => {};
    },
    inspectOffer: refuse,
    pair: refuse,
    forgetHost: refuse,
    send: refuse,
    providers: refuse,
    query: refuse,
    loadMoreRows: refuse,
    refreshTable: refuse,
    loadOlderItems: refuse,
    refreshLog: refuse,
    loadOlder: refuse,
    loadNewer: refuse,
    intentResult: refuse,
    outcome: refuse,
    jumpToNewest: refuse,
    reload: refuse,
    dismiss: refuse,
    refresh: refuse,
    selectPath: refuse,
    signal: async () => {},
  };
  return new BowlineClient(backend);
}
