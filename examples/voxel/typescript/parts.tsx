/** What lists and forms of any service need: states of a table, marks of a row, a field for a name. */
import type { FormEvent, ReactNode } from "react";
import { type IntentState, useBowline } from "@bowline/react";
import { type RowFailure, type TableRow, TableState, type TableView } from "@bowline/runtime/bridge";

interface RowsProps {
  table: TableView<unknown> & { loadMore: () => Promise<void> };
  /** Text of an empty table. */
  none: string;
  children: ReactNode;
}

/** The rows, or what stands in their place; beside old ones, that they may be outdated; after them, the way to more. */
export function Rows({ table, none, children }: RowsProps) {
  const { rows, state, error, failure, more, loadMore } = table;
  if (failure) return <p role="alert">{failure.message}</p>;
  if (state === TableState.Refused) return <p role="alert">The computer refuses this list: {error?.kind}</p>;
  const empty = rows.length === 0;
  const stale = state === TableState.Stale && <p role="status">May be outdated until the computer is back.</p>;
  if (empty && (state === TableState.Empty || stale)) return <p>{none} {stale && "It may be outdated until the computer is back."}</p>;
  if (empty) return <p aria-busy="true">{state === TableState.Failed ? "Cannot be loaded yet; it is tried again." : "Loading"}</p>;
  return (
    <>
      {stale}
      <ul>{children}</ul>
      {more.kind === "more" && <button onClick={() => void loadMore()}>more</button>}
      {more.kind === "failed" && <button onClick={() => void loadMore()}>more (try again)</button>}
    </>
  );
}

/** A row whose value did not come: it is too large, or its service cannot read it any more. */
export function Unshown({ row }: { row: TableRow<unknown> }) {
  return (
    <li aria-label={row.key}>
      {row.key}: {row.unreadable ? "the computer cannot read it" : "too large to be shown"}
    </li>
  );
}

/** Whether a row's value is on its way, or why the last change of it failed, until the user has seen that. */
export function Mark({ serverId, row }: { serverId: string; row: TableRow<unknown> }) {
  const client = useBowline();
  const { pending, failure } = row;
  return (
    <>
      {pending && <i>pending</i>}
      {failure && (
        <span role="alert">
          {why(failure)} <button onClick={() => void client.dismiss(serverId, failure.intentId)}>dismiss</button>
        </span>
      )}
    </>
  );
}

function why({ reason }: RowFailure): string {
  if (reason.kind === "refused") return `Refused: ${reason.detail}`;
  return "The computer was away for too long: look whether it was done.";
}

/** Why the library took none of it: nothing was sent, and no row shows it. */
export function Unsent({ sent }: { sent: IntentState }) {
  return sent.status === "failed" ? <p role="alert">{sent.error.message}</p> : null;
}

/** A field for a name and its button. */
export function NameForm({ label, onName }: { label: string; onName: (name: string) => void }) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const name = String(new FormData(form).get("name")).trim();
    if (name === "") return;
    onName(name);
    form.reset();
  };
  return (
    <form aria-label={label} onSubmit={submit}>
      <input name="name" aria-label={label} />
      <button>{label}</button>
    </form>
  );
}
