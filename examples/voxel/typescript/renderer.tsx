/** The page in a renderer of Electron: the library is in the main process, which serves this port with `serveBridge`. */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BowlineProvider } from "@bowline/react";
import { connectBridge, type Port } from "@bowline/runtime/bridge";
import { Page } from "./page.tsx";

/** Shows the page; what it returns ends it. */
export function start(port: Port, element: Element): () => void {
  const client = connectBridge(port);
  const root = createRoot(element);
  root.render(
    <StrictMode>
      <BowlineProvider client={client}>
        <Page />
      </BowlineProvider>
    </StrictMode>,
  );
  return () => {
    root.unmount();
    client.close();
  };
}
