/**
 * What the library tells and is told, in the one shape that apps see: a union is `{ kind: "…", … }`, as an `Intent` is. The generated
 * code has `{ tag, inner }` instead; `bind.ts` converts, so that nothing else sees that, a bridge's far side neither.
 */
import type * as Generated from "./generated/bowline.ts";

/** What has no unions inside. */
type Whole = string | number | bigint | boolean | undefined | null | Date | Uint8Array;

/** A type of the generated code in the shape for apps. */
export type Shaped<T> = T extends Whole
  ? T
  : T extends { readonly tag: infer Tag extends string; readonly inner: infer Inner }
    ? { readonly [Name in "kind" | keyof Inner]: Name extends keyof Inner ? Shaped<Inner[Name]> : Uncapitalize<`${Tag}`> }
    : T extends { readonly tag: infer Tag extends string }
      ? { readonly kind: Uncapitalize<`${Tag}`> }
      : T extends readonly (infer Item)[]
        ? Shaped<Item>[]
        : { [Name in keyof T]: Shaped<T[Name]> };

/** A value of the generated code in the shape for apps. What has no unions inside is the same object. */
export function shaped<T>(value: T): Shaped<T> {
  return shape(value) as Shaped<T>;
}

function shape(value: unknown): unknown {
  if (typeof value !== "object" || value === null || value instanceof Date || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return changed<unknown[]>(value, () => [...value]);
  const { tag, inner } = value as { tag?: unknown; inner?: object };
  if (typeof tag === "string") return { kind: tag.charAt(0).toLowerCase() + tag.slice(1), ...(shape(inner) as object | undefined) };
  return changed<object>(value, () => ({ ...value }));
}

/** The same object, or a copy if something in it has another shape. */
function changed<T extends object>(value: T, copied: () => T): T {
  let copy: Record<string, unknown> | undefined;
  for (const [name, member] of Object.entries(value)) {
    const next = shape(member);
    if (next !== member) (copy ??= copied() as Record<string, unknown>)[name] = next;
  }
  return (copy as T | undefined) ?? value;
}

export type DirectoryRow = Shaped<Generated.DirectoryRow>;
export type DirectoryUpdate = Shaped<Generated.DirectoryUpdate>;
/** The one error that a screen shows (UX-4). */
export type ErrorIndicator = Shaped<Generated.ErrorIndicator>;
/** An agent whose creation failed, with the reason. */
export type FailedAgent = Shaped<Generated.FailedAgent>;
/** A message whose delivery failed, with the reason. */
export type FailedMessage = Shaped<Generated.FailedMessage>;
/** State of one host's part of the list of all agents. */
export type HostDirectory = Shaped<Generated.HostDirectory>;
/** The state of one host. */
export type HostSnapshot = Shaped<Generated.HostSnapshot>;
export type HostsSnapshot = Shaped<Generated.HostsSnapshot>;
/** Reason why an intent failed. */
export type IntentFailure = Shaped<Generated.IntentFailure>;
export type ListChange = Shaped<Generated.ListChange>;
/** Reason of a failed load. */
export type LoadFailure = Shaped<Generated.LoadFailure>;
export type LogUpdate = Shaped<Generated.LogUpdate>;
/** Rows after the last one of a table, or items before the first one of a log. */
export type MoreRows = Shaped<Generated.MoreRows>;
/** Content after the last item of a timeline. */
export type Newer = Shaped<Generated.Newer>;
/** An offer's daemon among the known hosts. */
export type OfferHost = Shaped<Generated.OfferHost>;
/** The content of a pairing offer, for a person to confirm. */
export type OfferInfo = Shaped<Generated.OfferInfo>;
/** Content before the first item of a timeline. */
export type Older = Shaped<Generated.Older>;
/** Why an intent that concerned a row of a table failed. */
export type RowFailure = Shaped<Generated.RowFailure>;
export type ScreenUpdate = Shaped<Generated.ScreenUpdate>;
export type TableUpdate = Shaped<Generated.TableUpdate>;
export type TimelineUpdate = Shaped<Generated.TimelineUpdate>;
export type TopicUpdate = Shaped<Generated.TopicUpdate>;
