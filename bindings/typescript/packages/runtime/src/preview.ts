/**
 * A client with artificial hosts and an artificial timeline, for previews and tests: no network, no
 * storage.
 */
import type * as Generated from "./generated/bowline.ts";
import { Advice, Connectivity, Creation } from "./generated/enums.ts";
import { type Native, sourceOf } from "./bind.ts";
import { type Backend, BowlineClient, type Target } from "./client.ts";
import { BowlineError } from "./errors.ts";
import type { Source } from "./store.ts";

/** Every screen shows the artificial timeline, loaded and up to date. */
function screenOf(
  timeline: Source<Generated.TimelineUpdate>,
  serverId: string,
  target: Target,
): Source<Generated.ScreenUpdate> {
  const shown = {
    serverId,
    agentId: "agentId" in target ? target.agentId : undefined,
    agent: undefined,
    creation: Creation.None,
    creating: undefined,
    creationFailed: undefined,
    overlay: false,
    toast: undefined,
    placeholder: false,
    errorIndicator: undefined,
    composerEnabled: true,
    readOnly: undefined,
    connectivity: Connectivity.Online,
    connectionError: undefined,
  };
  return (onUpdate, onEnd) => timeline((update) => onUpdate({ ...shown, rev: update.rev, timeline: update }), onEnd);
}

/** A client that shows what a preview does. Its calls fail with `NotConnected`. */
export function previewClient(native: Native, preview: Generated.PreviewDataLike): BowlineClient {
  const hosts = sourceOf<Generated.HostsSnapshot>(native, (onHosts) => preview.subscribeHosts({ onHosts }));
  const timeline = sourceOf<Generated.TimelineUpdate>(native, (onTimeline) =>
    preview.subscribeTimeline({ onTimeline }),
  );
  const refuse = async (): Promise<never> => {
    throw new BowlineError("NotConnected", "there is nobody behind a preview", Advice.Nothing);
  };
  const nobody: Generated.DirectoryUpdate = {
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
    screen: (serverId, target) => screenOf(timeline, serverId, target),
    table: () => () => () => {},
    log: () => () => () => {},
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
