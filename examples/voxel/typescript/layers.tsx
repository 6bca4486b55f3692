/** The layers of a project: followed live, and changed at once, with a mark until the daemon has done it (LD-2, LD-3). */
import { memo } from "react";
import { useIntent, useTable } from "@bowline/react";
import type { TableRow } from "@bowline/runtime/bridge";
import type { Layer } from "../app-types/voxel.ts";
import { addLayer, type Change, LAYERS, layersOf, removeLayer, renameLayer } from "./intents.ts";
import { Mark, NameForm, Rows, Unsent, Unshown } from "./parts.tsx";

export function Layers({ serverId, project }: { serverId: string; project: string }) {
  const table = useTable<Layer>(serverId, LAYERS, layersOf(project));
  const [send, sent] = useIntent(serverId);
  return (
    <section aria-label="Layers">
      <h2>{project}</h2>
      <Rows table={table} none="No layers yet.">
        {table.rows.map((row) =>
          row.omittedBytes === undefined ? (
            <LayerRow key={row.key} serverId={serverId} project={project} row={row} send={send} />
          ) : (
            <Unshown key={row.key} row={row} />
          ),
        )}
      </Rows>
      <NameForm label="New layer" onName={(name) => void send(...addLayer(project, name))} />
      <Unsent sent={sent} />
    </section>
  );
}

interface RowProps {
  serverId: string;
  project: string;
  row: TableRow<Layer>;
  send: (...change: Change) => Promise<unknown>;
}

/** A row that did not change is the same object, so a change of one layer renders one. */
const LayerRow = memo(function LayerRow({ serverId, project, row, send }: RowProps) {
  const { name, colour, voxels } = row.value;
  return (
    <li aria-label={name}>
      <b>{name}</b> {colour}, {voxels} voxels
      <NameForm label={`Rename ${name}`} onName={(to) => void send(...renameLayer(project, row.value, to))} />
      <button onClick={() => void send(...removeLayer(project, name))}>remove</button>
      <Mark serverId={serverId} row={row} />
    </li>
  );
});
