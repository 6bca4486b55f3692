// Stock JSON-RPC clients of the npm world on the daemon's local socket: vscode-jsonrpc and json-rpc-2.0.
//
// Usage: client.mjs SOCKET MODULES. Only the framing is written here (one text a line, where editors use headers);
// requests, ids, matching and errors are the libraries'. The daemon has test.echo, test.gate and test.open.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

const [socketPath, modules] = process.argv.slice(2);
const require = createRequire(path.join(modules, "client.js"));
const rpc = require("vscode-jsonrpc");
const { JSONRPCClient } = require("json-rpc-2.0");

function connect() {
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath, () => resolve(socket));
    socket.once("error", reject);
  });
}

/** Calls back with each line parsed. */
function eachMessage(socket, callback) {
  let text = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk) => {
    const lines = (text + chunk).split("\n");
    text = lines.pop();
    for (const line of lines) callback(JSON.parse(line));
  });
}

class LineReader extends rpc.AbstractMessageReader {
  constructor(socket) {
    super();
    this.socket = socket;
  }

  listen(callback) {
    eachMessage(this.socket, callback);
    this.socket.on("close", () => this.fireClose());
    return { dispose() {} };
  }
}

class LineWriter extends rpc.AbstractMessageWriter {
  constructor(socket) {
    super();
    this.socket = socket;
  }

  async write(message) {
    this.socket.write(JSON.stringify(message) + "\n");
  }

  end() {}
}

async function vscodeJsonrpc() {
  const socket = await connect();
  const connection = rpc.createMessageConnection(new LineReader(socket), new LineWriter(socket));
  const events = [];
  let onEvent = () => {};
  connection.onNotification("session.event", (params) => {
    events.push(params);
    onEvent();
  });
  connection.listen();

  const status = await connection.sendRequest("daemon.status", {});
  assert.match(status.serverId, /^srv_/);
  await assert.rejects(connection.sendRequest("no.such", {}), { code: -32601 });
  await assert.rejects(connection.sendRequest("devices.revoke", { deviceId: 1 }), { code: -32602 });

  // Side by side, in any order, each its own.
  const slow = connection.sendRequest("test.gate", {});
  const echoes = await Promise.all(
    Array.from({ length: 200 }, (_, n) => connection.sendRequest("test.echo", { n })),
  );
  echoes.forEach((echo, n) => assert.equal(echo.n, n));
  await connection.sendRequest("test.open", {});
  assert.deepEqual(await slow, {});
  for (let n = 0; n < 1000; n++) {
    assert.equal((await connection.sendRequest("test.echo", { n })).n, n);
  }

  // One intent, one agent; its events arrive as notifications, without a gap.
  const intentId = randomUUID();
  const create = { intentId, provider: "shell", cwd: tmpdir() };
  const { agent } = await connection.sendRequest("agents.create", create);
  const again = await connection.sendRequest("agents.create", create);
  assert.equal(again.agent.id, agent.id);
  await connection.sendRequest("agents.subscribe", { agentId: agent.id });
  const isEnd = ({ event }) => event.type === "timeline.appended" && event.item.kind === "turn_end";
  const ended = new Promise((resolve) => {
    onEvent = () => events.some(isEnd) && resolve();
  });
  const prompt = { intentId: randomUUID(), agentId: agent.id, text: "echo from node" };
  await connection.sendRequest("agents.send", prompt);
  await ended;
  events.forEach(({ seq }, n) => assert.equal(seq, events[0].seq + n));
  connection.dispose();
  socket.destroy();
}

async function jsonRpc20() {
  const socket = await connect();
  const client = new JSONRPCClient((message) => {
    socket.write(JSON.stringify(message) + "\n");
  });
  eachMessage(socket, (message) => client.receive(message));

  const { serverTime } = await client.request("system.ping", {});
  assert.ok(serverTime > 0);
  await assert.rejects(async () => client.request("no.such", {}), /no method/);
  client.notify("test.echo", {});

  const echoes = await Promise.all(
    Array.from({ length: 200 }, (_, n) => client.request("test.echo", { n })),
  );
  echoes.forEach((echo, n) => assert.equal(echo.n, n));

  const request = (id, method, params) => ({ jsonrpc: "2.0", id, method, params });
  const answers = await client.requestAdvanced([
    request("a", "test.echo", { x: 1 }),
    request("b", "no.such", {}),
    request("c", "system.ping", {}),
  ]);
  const byId = Object.fromEntries(answers.map((answer) => [answer.id, answer]));
  assert.deepEqual(byId.a.result, { x: 1 });
  assert.equal(byId.b.error.code, -32601);
  assert.ok(byId.c.result.serverTime > 0);
  socket.destroy();
}

setTimeout(() => {
  console.error("no end after a minute");
  process.exit(1);
}, 60_000).unref();
await vscodeJsonrpc();
console.log("ok vscode-jsonrpc");
await jsonRpc20();
console.log("ok json-rpc-2.0");
