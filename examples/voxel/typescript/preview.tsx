/** The layers with artificial rows: for a story of Storybook, or a test of the component. It needs the native library, so it runs in Node. */
import { BowlineProvider } from "@bowline/react";
import { preview, PreviewData } from "@bowline/runtime";
import { useMemo } from "react";
import type { Layer } from "../app-types/voxel.ts";
import { LAYERS } from "./intents.ts";
import { Layers } from "./layers.tsx";

/** One layer on its way, and one refused. */
export function previewData(): PreviewData {
  const data = new PreviewData(1, 0);
  const rows: { key: string; value: Layer; pending?: boolean; refused?: string }[] = [
    { key: "castle/roof", value: { name: "roof", colour: "stone", voxels: 0 }, pending: true },
    { key: "castle/walls", value: { name: "walls", colour: "grass", voxels: 320 } },
    { key: "castle/well", value: { name: "well", colour: "deep_water", voxels: 8 }, refused: "there is no room for more" },
  ];
  data.show(LAYERS, rows);
  return data;
}

export function LayersPreview({ data }: { data: PreviewData }) {
  const client = useMemo(() => preview(data), [data]);
  return (
    <BowlineProvider client={client}>
      <Layers serverId="srv" project="castle" />
    </BowlineProvider>
  );
}
