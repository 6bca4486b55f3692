/** What the app asks of the voxel service: each intent, with what the rows show until the daemon has done it (LD-3). */
import type { Intent, Show } from "@bowline/runtime/bridge";
import type { Layer, LayerName, NewLayer, OfProject, Project, Rename } from "../app-types/voxel.ts";

/** The tables, with the parameters with which the page follows them: expected changes name the same. */
export const PROJECTS = "voxel.projects";
export const LAYERS = "voxel.layers";
export const ALL = {};
export const layersOf = (project: string): OfProject => ({ project });

/** An intent and what it is expected to change: `send(intent, show)`. */
export type Change = readonly [intent: Intent, show: (show: Show) => unknown];

/** The service's intents and their parameters, as the daemon describes them. */
interface Methods {
  "voxel.create_project": OfProject;
  "voxel.add_layer": NewLayer;
  "voxel.rename_layer": Rename;
  "voxel.remove_layer": LayerName;
}

/** The compiler checks the parameters against the generated types. */
function custom<Name extends keyof Methods>(method: Name, params: Methods[Name]): Intent {
  return { kind: "custom", method, params: { ...(params as object) } };
}

/** The key of a layer's row, as the service makes it. */
const key = (project: string, layer: string) => `${project}/${layer}`;

export function createProject(project: string): Change {
  const row: Project = { name: project, layers: 0 };
  return [custom("voxel.create_project", { project }), (show) => show.upsert(PROJECTS, ALL, project, row)];
}

export function addLayer(project: string, layer: string): Change {
  const row: Layer = { name: layer, colour: "stone", voxels: 0 };
  const intent = custom("voxel.add_layer", { project, layer, colour: row.colour });
  return [intent, (show) => show.upsert(LAYERS, layersOf(project), key(project, layer), row)];
}

/** The name is a part of the key: the row goes, and another one comes. */
export function renameLayer(project: string, layer: Layer, to: string): Change {
  const of = layersOf(project);
  return [
    custom("voxel.rename_layer", { project, layer: layer.name, to }),
    (show) => show.remove(LAYERS, of, key(project, layer.name)).upsert(LAYERS, of, key(project, to), { ...layer, name: to }),
  ];
}

export function removeLayer(project: string, layer: string): Change {
  const intent = custom("voxel.remove_layer", { project, layer });
  return [intent, (show) => show.remove(LAYERS, layersOf(project), key(project, layer))];
}
