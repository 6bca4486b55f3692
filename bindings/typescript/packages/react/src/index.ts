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
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { useSyncExternalStoreWithSelector } from "use-sync-external-store/with-selector";
import {
  asBowlineError,
  type BowlineClient,
  type BowlineError,
  type DirectoryView,
  type HostSnapshot,
  type HostsView,
  type Intent,
  type IntentOutcome,
  type LoadFailure,
  type LogView,
  OutcomeKind,
  rowOf,
  sameFrame,
  type ScreenFrame,
  type ScreenView,
  type Show,
  type Store,
  type TableRow,
  type TableView,
  type Target,
  type TimelineView,
  type TopicBatch,
  TopicState,
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

/**
 * Picks a part of a value. A component with a selector is rendered again only when another part is picked; parts are compared by
 * identity, or by `isEqual`. A selector must pick the same part of the same value.
 */
export type Selector<T, Part> = (value: T) => Part;

/** Whether two parts show the same. */
export type IsEqual<Part> = (one: Part, other: Part) => boolean;

const whole = <T, Part>(value: T) => value as unknown as Part;

/** A store's value, or the part that the selector picks: `useStore(client.hosts, (all) => all.hosts.length)`. */
export function useStore<T, Part = T>(store: Store<T>, select: Selector<T, Part> = whole, isEqual?: IsEqual<Part>): Part {
  return useSyncExternalStoreWithSelector(store.subscribe, store.getSnapshot, store.getServerSnapshot, select, isEqual);
}

/** All hosts: connections, paths, errors; or a part of them: `useHosts((all) => all.hosts.length)`. */
export function useHosts<Part = HostsView>(select?: Selector<HostsView, Part>, isEqual?: IsEqual<Part>): Part {
  return useStore(useBowline().hosts, select, isEqual);
}

/** One host; nothing while it is not known. Rendered again only when it changes. */
export function useHost(serverId: string): HostSnapshot | undefined {
  return useHosts((all) => all.hosts.find((host) => host.serverId === serverId));
}

/** The agents of all hosts in one list, or a part of it. */
export function useDirectory<Part = DirectoryView>(select?: Selector<DirectoryView, Part>, isEqual?: IsEqual<Part>): Part {
  return useStore(useBowline().directory, select, isEqual);
}

function useScreenStore(serverId: string, target: string | Target): Store<ScreenView> {
  const client = useBowline();
  const agentId = typeof target === "string" ? target : "agentId" in target ? target.agentId : undefined;
  const intentId = typeof target !== "string" && "intentId" in target ? target.intentId : "";
  // By what the target says: a new object in every render is the same screen.
  return useMemo(
    () => client.screen(serverId, agentId !== undefined ? { agentId } : { intentId }),
    [client, serverId, agentId, intentId],
  );
}

/** The content of one agent's screen: overlay, toast, errors and the timeline (UX-1 … UX-4). */
export function useAgentScreen<Part = ScreenView>(
  serverId: string,
  target: string | Target,
  select?: Selector<ScreenView, Part>,
  isEqual?: IsEqual<Part>,
): Part {
  return useStore(useScreenStore(serverId, target), select, isEqual);
}

/**
 * One agent's screen without its timeline, for the bars around the list: a line of output does not render them again. The timeline
 * in it is the one at the last change of the rest.
 */
export function useScreenFrame(serverId: string, target: string | Target): ScreenFrame {
  return useStore<ScreenView, ScreenFrame>(useScreenStore(serverId, target), whole, sameFrame);
}

/** One agent's timeline. Rendered again only when the timeline itself changes. */
export function useTimeline(serverId: string, target: string | Target): TimelineView {
  return useAgentScreen(serverId, target, timelineOf);
}

const timelineOf = ({ timeline }: ScreenView) => timeline;

/** What is made for that name with these parameters; the same one while they say the same. */
function useNamed<T>(
  [serverId, name, params]: readonly [string, string, object],
  make: (client: BowlineClient, params: object) => T,
): T {
  const client = useBowline();
  // By what the parameters say: a new object in every render names the same.
  const json = JSON.stringify(params);
  // `make` is given anew by every render and does the same for the same names.
  return useMemo(() => make(client, JSON.parse(json) as object), [client, serverId, name, json]);
}

/** The view of what is followed under that name with these parameters, with a function that loads more. */
function useFollowed<View extends object, Load extends object>(
  names: readonly [string, string, object],
  open: (client: BowlineClient, params: object) => readonly [Store<View>, Load],
): View & Load {
  const [store, load] = useNamed(names, open);
  const view = useStore(store);
  return useMemo(() => ({ ...view, ...load }), [view, load]);
}

/** Rows of a service's table, and a function that loads the page after the last one. */
export function useTable<Value>(
  serverId: string,
  name: string,
  params: object = {},
): TableView<Value> & { readonly loadMore: () => Promise<void> } {
  return useFollowed([serverId, name, params], (client, params) => [
    client.table<Value>(serverId, name, params),
    { loadMore: () => client.loadMoreRows(serverId, name, params) },
  ]);
}

/** One row of a service's table; nothing while it is not among the loaded ones. Rendered again only when it changes. */
export function useTableRow<Value>(serverId: string, name: string, params: object, key: string): TableRow<Value> | undefined {
  const store = useNamed([serverId, name, params], (client, params) => client.table<Value>(serverId, name, params));
  return useStore(store, (table) => rowOf(table, key));
}

/** The newest items of a service's log, oldest first, and a function that loads the page before the first one. */
export function useLog<Value>(
  serverId: string,
  name: string,
  params: object = {},
): LogView<Value> & { readonly loadOlder: () => Promise<void> } {
  return useFollowed([serverId, name, params], (client, params) => [
    client.log<Value>(serverId, name, params),
    { loadOlder: () => client.loadOlderItems(serverId, name, params) },
  ]);
}

/** How a topic is doing. */
export interface TopicStatus {
  readonly state: TopicState;
  /** Why it is not followed. */
  readonly error: LoadFailure | undefined;
  /** Why nothing comes any more: the host was forgotten, the client was closed. */
  readonly failure: BowlineError | undefined;
}

const OPENING: TopicStatus = Object.freeze({ state: TopicState.Opening, error: undefined, failure: undefined });

/**
 * Calls back with the events of a service's topic while the component is mounted: every one once and in order (LD-10). The newest
 * `onBatch` is called; a new one subscribes to nothing. Where a batch is `missed`, load again what its events are about.
 */
export function useTopic<Body>(
  serverId: string,
  name: string,
  params: object,
  onBatch: (batch: TopicBatch<Body>) => void,
): TopicStatus {
  const client = useBowline();
  const [status, setStatus] = useState(OPENING);
  const newest = useRef(onBatch);
  useEffect(() => {
    newest.current = onBatch;
  });
  // By what the parameters say: a new object in every render names the same events.
  const json = JSON.stringify(params);
  useEffect(() => {
    setStatus(OPENING);
    return client.topic<Body>(serverId, name, JSON.parse(json) as object).subscribe(
      (batch) => {
        const { state, error } = batch;
        setStatus((now) => (now.state === state && now.error === error ? now : { state, error, failure: undefined }));
        newest.current(batch);
      },
      (failure) => setStatus((now) => ({ ...now, failure })),
    );
  }, [client, serverId, name, json]);
  return status;
}

/** How an intent stands. */
export type IntentState =
  | { readonly status: "idle" }
  /** It is being handed to the library. */
  | { readonly status: "sending" }
  /** The library keeps it, and will do it once. */
  | { readonly status: "pending"; readonly intentId: string }
  /** It was done. `result` is the method's, unless that is longer than 4 KiB: `useBowline().intentResult` has it. */
  | { readonly status: "done"; readonly intentId: string; readonly result: unknown }
  /** The daemon refused it; nothing was done. */
  | { readonly status: "refused"; readonly intentId: string; readonly message: string }
  /**
   * Whether it was executed is unknown: the host was unreachable for too long, or was forgotten.
   */
  | { readonly status: "unknown"; readonly intentId: string }
  /** It was not accepted by the library. */
  | { readonly status: "failed"; readonly error: BowlineError };

/** The last intent: how it stands, and the host that it went to. */
interface Sent {
  readonly state: IntentState;
  readonly serverId: string;
  /** Whether the host's row was there since: a row that goes then was forgotten. */
  readonly seen: boolean;
}

/**
 * Sends intents to a host and follows the last one. The function that sends is the same one in every render; it gives
 * the intent's name, or nothing if it was not accepted, which the state says. `say` tells which rows show at once what is
 * expected: `send(intent, (show) => show.upsert("voxel.layers", { project }, layer, { name: layer }))`. `show.append` is for logs.
 */
export function useIntent(
  serverId: string,
): [send: (intent: Intent, say?: (show: Show) => unknown) => Promise<string | undefined>, state: IntentState] {
  const client = useBowline();
  const [sent, setSent] = useState<Sent>({ state: { status: "idle" }, serverId, seen: false });
  const turns = useRef(0);
  const send = useCallback(
    async (intent: Intent, say?: (show: Show) => unknown) => {
      const turn = ++turns.current;
      const set = (state: IntentState) => {
        // A later one may have been faster.
        if (turn === turns.current) setSent({ state, serverId, seen: false });
      };
      set({ status: "sending" });
      try {
        const intentId = await client.send(serverId, intent, say);
        set({ status: "pending", intentId });
        return intentId;
      } catch (error) {
        set({ status: "failed", error: asBowlineError(error) });
        return undefined;
      }
    },
    [client, serverId],
  );
  // A change of the host renders the component again only while the intent is pending.
  const pending = sent.state.status === "pending";
  const rowOf = ({ hosts }: HostsView) => (pending ? hosts.find((host) => host.serverId === sent.serverId) : undefined);
  const host = useSyncExternalStore(
    client.hosts.subscribe,
    () => rowOf(client.hosts.getSnapshot()),
    () => undefined,
  );
  const next = followed(sent, host);
  // An outcome is kept here: the library has room for the latest ones only.
  if (next !== sent) setSent(next);
  return [send, next.state];
}

function followed(sent: Sent, host: HostSnapshot | undefined): Sent {
  const { state, seen } = sent;
  if (state.status !== "pending") return sent;
  const { intentId } = state;
  if (!host) return seen ? { ...sent, state: { status: "unknown", intentId } } : sent;
  const outcome = host.recentIntents.find((outcome) => outcome.intentId === intentId);
  if (outcome) return { ...sent, state: stateOf(outcome) };
  return seen ? sent : { ...sent, seen: true };
}

function stateOf({ intentId, kind, resultJson, detail }: IntentOutcome): IntentState {
  switch (kind) {
    case OutcomeKind.Done:
      return { status: "done", intentId, result: resultJson === undefined ? undefined : JSON.parse(resultJson) };
    case OutcomeKind.Refused:
      return { status: "refused", intentId, message: detail ?? "" };
    case OutcomeKind.Expired:
    case OutcomeKind.Abandoned:
      return { status: "unknown", intentId };
  }
}
