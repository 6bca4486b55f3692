/** Names a library that is none. */
process.env.BOWLINE_LIBRARY = process.argv[2];
const { BowlineError, loadLibrary } = await import("../../packages/runtime/dist/index.js");
try {
  loadLibrary();
} catch (error) {
  console.log(error instanceof BowlineError ? error.kind : error);
}
