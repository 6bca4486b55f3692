/** Opens a client with the library of that file, and says what comes of it. */
process.env.BOWLINE_LIBRARY = process.argv[2];
const { Advice, BowlineError, openBowline } = await import("../../packages/runtime/dist/index.js");
try {
  await openBowline({ storageFolder: process.argv[3], appName: "tests", appVersion: "1" }).close();
  console.log("opened");
} catch (error) {
  console.log(error instanceof BowlineError ? `${error.kind} ${Advice[error.advice]}: ${error.message}` : error);
}
