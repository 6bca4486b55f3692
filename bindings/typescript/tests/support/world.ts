/** A real daemon behind two direct paths and a real relay, all of which can be cut, told what to do line by line. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { program } from "./places.js";

/** Places among the world's paths. */
export const [DIRECT, RELAY] = [0, 2] as const;

type Answer = Record<string, unknown> & { ok?: boolean; error?: string };

export class World {
  readonly #process: ChildProcess;
  readonly #waiting: ((answer: Answer) => void)[] = [];
  readonly #exited: Promise<unknown>;
  ready!: { paths: string[]; folder: string };

  private constructor(args: string[]) {
    this.#process = spawn(program("bowline-testkit-world"), args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#exited = new Promise((resolve) => this.#process.once("exit", resolve));
    const lines = createInterface({ input: this.#process.stdout! });
    lines.on("line", (line) => this.#waiting.shift()?.(JSON.parse(line) as Answer));
    lines.on("close", () => this.#waiting.splice(0).forEach((done) => done({ ok: false, error: "the world ended" })));
  }

  static async start(...args: string[]): Promise<World> {
    const world = new World(args);
    const ready = await new Promise<Answer>((resolve) => world.#waiting.push(resolve));
    if (ready["event"] !== "ready") throw new Error(`the world did not start: ${JSON.stringify(ready)}`);
    world.ready = ready as unknown as World["ready"];
    return world;
  }

  async order(order: Record<string, unknown>): Promise<Answer> {
    const answer = new Promise<Answer>((resolve) => this.#waiting.push(resolve));
    this.#process.stdin!.write(`${JSON.stringify(order)}\n`);
    const said = await answer;
    if (!said.ok) throw new Error(`${JSON.stringify(order)}: ${said.error}`);
    return said;
  }

  /** An offer with these paths only, or with all. */
  offer(...paths: number[]): Promise<string> {
    return this.link(paths.length > 0 ? { do: "offer", paths } : { do: "offer" });
  }

  /** The offer that answers an order. */
  async link(order: Record<string, unknown>): Promise<string> {
    return (await this.order(order))["offer"] as string;
  }

  /** Resets what is on a path and refuses what is new. */
  async cut(path: number): Promise<void> {
    await this.order({ do: "cut", path });
  }

  /** Ends a cut. */
  async heal(path: number): Promise<void> {
    await this.order({ do: "heal", path });
  }

  /** Which sessions the daemon holds, and since when. */
  async sessions(): Promise<[key: string, createdAt: number][]> {
    const said = (await this.order({ do: "sessions" }))["sessions"] as { externalSessionKey: string; createdAt: number }[];
    return said.map(({ externalSessionKey, createdAt }) => [externalSessionKey, createdAt]);
  }

  /** What clients have told the impostor: its connections, the hellos it could read, and the messages after those. */
  async heard(): Promise<{ connections: number; hellos: number; messages: number }> {
    const { connections, hellos, messages } = await this.order({ do: "heard" });
    return { connections, hellos, messages } as Awaited<ReturnType<World["heard"]>>;
  }

  /** Ends everything that it started. */
  async end(): Promise<void> {
    this.#process.stdin!.end();
    await this.#exited;
  }
}
