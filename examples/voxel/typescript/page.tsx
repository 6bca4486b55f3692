/** The page: pairing at first, then the host's connection, its projects, and the layers of the chosen one. */
import { useState } from "react";
import { useHost, useHosts, useIntent, useTable } from "@bowline/react";
import { ADVICE_TEXTS, HostState } from "@bowline/runtime/bridge";
import type { Project } from "../app-types/voxel.ts";
import { ALL, createProject, PROJECTS } from "./intents.ts";
import { Layers } from "./layers.tsx";
import { Pair } from "./pair.tsx";
import { Mark, NameForm, Rows, Unsent, Unshown } from "./parts.tsx";

/** The first host's projects; before there is one, the app pairs with it. */
export function Page() {
  const serverId = useHosts(({ hosts }) => hosts[0]?.serverId);
  const [project, choose] = useState<string>();
  if (serverId === undefined) return <Pair />;
  return (
    <main>
      <Connection serverId={serverId} />
      <Projects serverId={serverId} chosen={project} onChoose={choose} />
      {project !== undefined && <Layers key={project} serverId={serverId} project={project} />}
    </main>
  );
}

/** How the connection is doing. There is nothing to press: the library connects again by itself. */
export function Connection({ serverId }: { serverId: string }) {
  const host = useHost(serverId);
  if (!host) return null;
  const online = host.state === HostState.Online;
  return (
    <header>
      <b>{host.name}</b> <output>{online ? `connected over ${host.address ?? "a path"}` : "connecting"}</output>
      {host.lastError && <p role="alert">{ADVICE_TEXTS[host.lastError.advice] || host.lastError.detail}</p>}
    </header>
  );
}

interface Choice {
  serverId: string;
  chosen: string | undefined;
  onChoose: (project: string) => void;
}

/** All projects, as a live table (LD-2). */
export function Projects({ serverId, chosen, onChoose }: Choice) {
  const table = useTable<Project>(serverId, PROJECTS, ALL);
  const [send, sent] = useIntent(serverId);
  return (
    <section aria-label="Projects">
      <Rows table={table} none="No projects yet.">
        {table.rows.map((row) =>
          row.omittedBytes === undefined ? (
            <li key={row.key}>
              <button aria-pressed={row.key === chosen} onClick={() => onChoose(row.key)}>
                {row.value.name}
              </button>
              <Mark serverId={serverId} row={row} />
            </li>
          ) : (
            <Unshown key={row.key} row={row} />
          ),
        )}
      </Rows>
      <NameForm label="New project" onName={(name) => void send(...createProject(name))} />
      <Unsent sent={sent} />
    </section>
  );
}
