// @vitest-environment happy-dom
/** The app of `examples/voxel/typescript`, as a user has it, with the real daemon of `examples/voxel` (LD-2, LD-3). */
import { MessageChannel } from "node:worker_threads";
import { act, fireEvent, render, screen as dom, waitFor, within } from "@testing-library/react";
import { afterEach, expect, it } from "vitest";
import { type Bowline, preview, PreviewData, PreviewScreen, serveBridge, TableState, waitFor as valueOf } from "@bowline/runtime";
import { LayersPreview, previewData } from "../../../examples/voxel/typescript/preview.tsx";
import { start } from "../../../examples/voxel/typescript/renderer.tsx";
import { online, open } from "./support/app.js";
import { folder } from "./support/folder.js";
import { DIRECT, World } from "./support/world.js";

const PATIENCE = { timeout: 30_000 };
const ended: (() => unknown)[] = [];
let world: World | undefined;

afterEach(async () => {
  for (const end of ended.splice(0).reverse()) await end();
  await world?.end();
  world = undefined;
});

/** The page, over a bridge as in Electron, which has paired with the daemon. */
async function page(): Promise<Bowline> {
  world = await World.start("voxel-daemon");
  const bowline = open(folder());
  ended.push(() => bowline.close());
  const { port1, port2 } = new MessageChannel();
  ended.push(serveBridge(bowline, port1));
  const element = document.body.appendChild(document.createElement("div"));
  ended.push(() => element.remove());
  let end!: () => void;
  act(() => void (end = start(port2, element)));
  ended.push(() => act(end));
  enter("Pairing link", await world!.offer(DIRECT));
  fireEvent.click(await dom.findByRole("button", { name: "pair" }, PATIENCE));
  await dom.findByText(/^connected over/, {}, PATIENCE);
  return bowline;
}

/** Enters a name into a form. */
function enter(label: string, name: string): void {
  const field = dom.getByRole("textbox", { name: label });
  fireEvent.change(field, { target: { value: name } });
  fireEvent.submit(field.closest("form")!);
}

const layer = (name: string) => dom.findByRole("listitem", { name }, PATIENCE);
const is = (what: string) => waitFor(() => expect(dom.getByText(what)).toBeTruthy(), PATIENCE);
const isGone = (what: string) => waitFor(() => expect(dom.queryByText(what)).toBeNull(), PATIENCE);

/** A new project, chosen, once the daemon has it. */
async function castle(): Promise<void> {
  await is("No projects yet.");
  enter("New project", "castle");
  fireEvent.click(await dom.findByRole("button", { name: "castle" }, PATIENCE));
  await isGone("pending");
  await is("No layers yet.");
}

it("LD-2, LD-3: a layer that is added while the computer is away is shown at once, pending, and done when it is back", async () => {
  await page();
  await castle();
  enter("New layer", "walls");
  await layer("walls");
  await isGone("pending");

  await world!.cut(DIRECT);
  await is("connecting");
  await waitFor(() => expect(dom.getAllByText(/May be outdated/).length).toBe(2), PATIENCE);
  enter("New layer", "roof");
  expect(within(await layer("roof")).getByText("pending")).toBeTruthy();
  expect(within(await layer("walls")).queryByText("pending")).toBeNull();
  expect(dom.getByText("connecting")).toBeTruthy();

  await world!.heal(DIRECT);
  await isGone("pending");
  await dom.findByText(/^connected over/, {}, PATIENCE);
  expect(dom.queryByText(/May be outdated/)).toBeNull();
  expect(dom.queryByRole("alert")).toBeNull();
  expect(dom.getAllByRole("listitem", { name: /walls|roof/ }).length).toBe(2);
});

it("LD-3: a layer is renamed and removed, and a change that the daemon refuses says why until it is dismissed", async () => {
  const bowline = await page();
  await castle();
  enter("New layer", "walls");
  await layer("walls");
  enter("Rename walls", "keep");
  await layer("keep");
  await isGone("pending");
  expect(dom.queryByRole("listitem", { name: "walls" })).toBeNull();

  enter("New layer", "keep");
  const refused = within(await layer("keep"));
  await refused.findByText(/Refused: there is such a layer already/, {}, PATIENCE);
  fireEvent.click(refused.getByRole("button", { name: "dismiss" }));
  await waitFor(() => expect(refused.queryByRole("alert")).toBeNull(), PATIENCE);

  fireEvent.click(refused.getByRole("button", { name: "remove" }));
  await is("No layers yet.");
  const { serverId } = await online(bowline);
  const listed = () => bowline.query(serverId, "voxel.list_projects");
  await expect.poll(listed, PATIENCE).toEqual({ projects: [{ name: "castle", layers: 0 }] });
});

it("the layers are shown with artificial rows, one pending and one refused, with no network", async () => {
  const { unmount } = render(<LayersPreview data={previewData()} />);
  ended.push(unmount);
  expect(within(await layer("roof")).getByText("pending")).toBeTruthy();
  expect((await layer("walls")).textContent).toContain("grass, 320 voxels");
  expect(within(await layer("well")).getByText(/Refused: there is no room for more/)).toBeTruthy();
});

it("a preview's tables, logs and screen change as real ones do, and what is no JSON is refused", async () => {
  const data = new PreviewData(0, 2);
  const client = preview(data);
  const table = client.table<number>("srv", "t");
  expect((await valueOf(table, ({ ready }) => ready)).state).toBe(TableState.Loading);
  data.show("t", [{ key: "b", value: 2 }, { key: "a", value: 1 }]);
  expect((await valueOf(table, ({ state }) => state === TableState.Ready)).rows.map(({ value }) => value)).toEqual([1, 2]);
  data.change("t", { key: "b", value: 3 });
  expect((await valueOf(table, ({ rows }) => rows.at(1)?.value === 3)).rows.map(({ key }) => key)).toEqual(["a", "b"]);
  data.show("t", []);
  expect((await valueOf(table, ({ state }) => state === TableState.Empty)).rows.length).toBe(0);
  data.showItems("l", [7], TableState.Stale);
  const log = await valueOf(client.log<number>("srv", "l"), ({ state }) => state === TableState.Stale);
  expect([log.items.at(0)?.value, log.first, log.next, log.older.kind]).toEqual([7, 0, 1, "none"]);
  expect(() => data.showLog("l", ["no JSON"], undefined)).toThrow();

  const screen = client.screen("srv", { agentId: "agt" });
  expect((await valueOf(screen, ({ ready }) => ready)).timeline.items.length).toBe(2);
  data.showScreen(PreviewScreen.Loading);
  await valueOf(screen, ({ overlay }) => overlay);
  data.showScreen(PreviewScreen.RefreshFailed);
  const failed = await valueOf(screen, ({ errorIndicator }) => errorIndicator !== undefined);
  expect(failed.errorIndicator).toMatchObject({ kind: "refreshFailed", error: { kind: "lost" } });
});
