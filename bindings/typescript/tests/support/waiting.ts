/** Waiting for what must come, with a deadline. */
import type { Store } from "@bowline/runtime/bridge";

const DEADLINE_MS = 30_000;

/** Waits until a condition holds. */
export async function until(what: string, condition: () => boolean, deadline = DEADLINE_MS): Promise<void> {
  const end = Date.now() + deadline;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits until a store's value is as wanted; the store is subscribed to meanwhile. */
export function shown<T>(what: string, store: Store<T>, wanted: (value: T) => boolean, deadline = DEADLINE_MS): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      end();
      reject(new Error(`waited in vain: ${what}; last: ${JSON.stringify(store.getSnapshot()).slice(0, 2_000)}`));
    }, deadline);
    const look = () => {
      const value = store.getSnapshot();
      if (!wanted(value)) return;
      clearTimeout(timer);
      end();
      resolve(value);
    };
    const end = store.subscribe(look);
    look();
  });
}
