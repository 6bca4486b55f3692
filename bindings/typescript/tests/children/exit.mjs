/** Leaves in one of several ways while it is subscribed. */
import { loadLibrary, PreviewData } from "../../packages/runtime/dist/index.js";

loadLibrary();
const preview = new PreviewData(3, 10);
preview.subscribeHosts({ onHosts() {} });
void preview.burst(1_000_000, 100_000);
setTimeout(() => {
  switch (process.argv[2]) {
    case "exit":
      process.exit(0);
      break;
    case "throw":
      throw new Error("on purpose");
    default:
      // Nothing holds the event loop but the subscription of the raw binding, which does not.
      process.exitCode = 0;
      setTimeout(() => process.exit(0), 200);
  }
}, 100);
