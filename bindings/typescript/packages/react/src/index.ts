/**
 * React hooks for Bowline. A component renders what the library shows and sends intents; there is nothing to connect
 * and nothing to disconnect (INV-7).
 *
 * @packageDocumentation
 */
import {
  createContext,
  createElement,
  type ReactNode,
  useCallback,
  useContext,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import type {
  BowlineClient,
  DirectoryView,
  HostsView,
  Intent,
  Store,
  Target,
  TimelineView,
  ScreenView,
} from "@bowline/runtime/bridge";

const Context = createContext<BowlineClient | undefined>(undefined);

/** Gives the client to the components below. */
export function BowlineProvider({ client, children }: { client: BowlineClient; children?: ReactNode }) {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client that {@link BowlineProvider} gives. */
export function useBowline(): BowlineClient {
  const client = useContext(Context);
  if (!client) throw new Error("there is no <BowlineProvider> around this component");
  return client;
}

function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.getSnapshot, store.getServerSnapshot);
}

/** All hosts: connections, paths, errors. */
export function useHosts(): HostsView {
  return useStore(useBowline().hosts);
}

/** The agents of all hosts in one list. */
export function useDirectory(): DirectoryView {
  return useStore(useBowline().directory);
}

function useScreenStore(serverId: string, target: string | Target): Store<ScreenView> {
  const client = useBowline();
  const agentId = typeof target === "string" ? target : "agentId" in target ? target.agentId : undefined;
  const intentId = typeof target !== "string" && "intentId" in target ? target.intentId : undefined;
  return useMemo(() => {
    // Looked up at each use: a store that nobody used for a while has given way to a new one.
    const open = () => client.screen(serverId, agentId !== undefined ? { agentId } : { intentId: intentId ?? "" });
    let store = open();
    return {
      getSnapshot: () => store.getSnapshot(),
      getServerSnapshot: () => store.getServerSnapshot(),
      subscribe: (onChange) => {
        store = open();
        return store.subscribe(onChange);
      },
    };
  }, [client, serverId, agentId, intentId]);
}

/** What one agent's screen shows: overlay, toast, errors, and the timeline (UX-1 … UX-4). */
export function useAgentScreen(serverId: string, target: string | Target): ScreenView {
  return useStore(useScreenStore(serverId, target));
}

/** One agent's timeline. Rendered anew only when the timeline itself changes. */
export function useTimeline(serverId: string, target: string | Target): TimelineView {
  const store = useScreenStore(serverId, target);
  return useSyncExternalStore(
    store.subscribe,
    () => store.getSnapshot().timeline,
    () => store.getServerSnapshot().timeline,
  );
}

/** How an intent stands. */
export type IntentState =
  | { status: "idle" }
  | { status: "sending" }
  | { status: "pending"; intentId: string }
  | { status: "done"; intentId: string; result: unknown }
  | { status: "refused"; intentId: string; message: string }
  | { status: "unknown"; intentId: string }
  | { status: "failed"; error: unknown };

type Sent = { serverId: string; intentId: string } | { error: unknown } | "sending" | undefined;

/**
 * Sends intents to a host and follows the last one. The function that sends is the same one in every render; it gives
 * the intent's name, or nothing if it was not accepted, which the state says.
 */
export function useIntent(serverId: string): [send: (intent: Intent) => Promise<string | undefined>, state: IntentState] {
  const client = useBowline();
  const hosts = useHosts();
  const [sent, setSent] = useState<Sent>(undefined);
  const send = useCallback(
    async (intent: Intent) => {
      setSent("sending");
      try {
        const intentId = await client.send(serverId, intent);
        setSent({ serverId, intentId });
        return intentId;
      } catch (error) {
        setSent({ error });
        return undefined;
      }
    },
    [client, serverId],
  );
  return [send, stateOf(sent, hosts)];
}

function stateOf(sent: Sent, hosts: HostsView): IntentState {
  if (!sent) return { status: "idle" };
  if (sent === "sending") return { status: "sending" };
  if ("error" in sent) return { status: "failed", error: sent.error };
  const { serverId, intentId } = sent;
  const host = hosts.hosts.find((host) => host.serverId === serverId);
  const outcome = host?.recentIntents.find((outcome) => outcome.intentId === intentId);
  if (!outcome) return { status: "pending", intentId };
  // By place in `OutcomeKind`: its module is native.
  switch (outcome.kind as number) {
    case 0:
      return { status: "done", intentId, result: outcome.resultJson ? JSON.parse(outcome.resultJson) : undefined };
    case 1:
      return { status: "refused", intentId, message: outcome.detail ?? "" };
    default:
      return { status: "unknown", intentId };
  }
}
