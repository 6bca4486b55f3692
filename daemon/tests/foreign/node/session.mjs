// A client of the session socket, written from docs/protocol.md alone on Node's own primitives and a stock WebSocket:
// it pairs, attaches, sends an intent twice, and follows a live table while it cuts its own connection.
//
// Usage: session.mjs OFFER MODULES CUTS. Ends once the table has the row `a/end`, and prints what it shows as JSON.

import assert from "node:assert/strict";
import crypto from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";

import { Initiator, keyPair, publicKey } from "./noise.mjs";

const [link, modules, cuts] = process.argv.slice(2);
const WebSocket = createRequire(path.join(modules, "session.js"))("ws");

// Section 1: identities.
const sha256 = (...parts) => crypto.createHash("sha256").update(Buffer.concat(parts)).digest();
const hmac = (key, ...parts) => crypto.createHmac("sha256", key).update(Buffer.concat(parts)).digest();
const text = (of) => Buffer.from(of);

function base32(bytes) {
  let bits = "";
  for (const byte of bytes) bits += byte.toString(2).padStart(8, "0");
  const fives = bits.match(/.{1,5}/g).map((five) => parseInt(five.padEnd(5, "0"), 2));
  return fives.map((five) => "abcdefghijklmnopqrstuvwxyz234567"[five]).join("");
}

// Section 10: the offer.
const offer = new URLSearchParams(link.slice("bowline://pair?".length));
const serverId = offer.get("s");
const transportKey = Buffer.from(offer.get("k"), "base64url");
const token = Buffer.from(offer.get("t"), "base64url");

const device = keyPair();
const sessionKey = `csk_${base32(crypto.randomBytes(16))}`;
const secret = crypto.randomBytes(32);
const offerKey = sha256(text("bowline/1 pairing key\n"), token);
const deviceKey = hmac(offerKey, text("bowline/1 device key\n"), secret);

/** One connection, after its handshake (section 2). */
class Connection {
  #socket;
  #ciphers;
  #chunks = [];
  #calls = new Map();
  #next = 1;
  onEvent = () => {};

  static async open(hello, psk) {
    const connection = new Connection();
    const url = `ws://${offer.get("d")}/v1/session`;
    const socket = new WebSocket(url, "bowline.v1", { perMessageDeflate: false });
    connection.#socket = socket;
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    const noise = new Initiator(text(`bowline/1\n${serverId}`), device, transportKey);
    const json = JSON.stringify({
      protocol: 1,
      clientSessionKey: sessionKey,
      client: { name: "foreign", version: "1", platform: "node" },
      ...hello,
    });
    const first = noise.write(text(json.padEnd(Math.ceil(json.length / 256) * 256)));
    const answer = new Promise((resolve, reject) => {
      socket.once("message", resolve);
      socket.once("close", (code, why) => reject(new Error(`closed: ${code} ${why}`)));
    });
    socket.send(first);
    const { payload, ...ciphers } = noise.read(await answer, psk);
    connection.#ciphers = ciphers;
    const welcome = JSON.parse(payload);
    connection.#check(welcome.identity, first);
    assert.equal(welcome.ok, true, JSON.stringify(welcome));
    socket.on("message", (message) => connection.#received(message));
    socket.on("close", () => connection.#closed());
    socket.on("error", () => {});
    connection.notify("session.ready", {});
    return [connection, welcome];
  }

  #check({ key, signature }, first) {
    const raw = Buffer.from(key, "base64url");
    assert.equal(`srv_${base32(sha256(raw).subarray(0, 16))}`, serverId);
    const signed = Buffer.concat([text("bowline/1 identity\n"), transportKey, sha256(first)]);
    const ed25519 = publicKey(raw, Buffer.from("302a300506032b6570032100", "hex"));
    assert(crypto.verify(null, signed, ed25519, Buffer.from(signature, "base64url")));
  }

  #received(message) {
    const plain = this.#ciphers.receive.open(message);
    const content = plain.subarray(1);
    switch (plain[0]) {
      case 0:
        this.#text(Buffer.concat([...this.#chunks.splice(0), content]));
        break;
      case 1:
        this.#chunks.push(content);
        break;
      case 2:
        for (let at = 0; at < content.length; ) {
          const end = at + 2 + content.readUInt16BE(at);
          this.#text(content.subarray(at + 2, end));
          at = end;
        }
        break;
      default:
        assert.fail(`flag ${plain[0]}`);
    }
  }

  #text(bytes) {
    const message = JSON.parse(bytes);
    if (message.method === "session.event") this.onEvent(message.params);
    else if (message.method) this.onNotification?.(message);
    else {
      this.#calls.get(message.id)?.resolve(message);
      this.#calls.delete(message.id);
    }
  }

  #closed() {
    for (const { reject } of this.#calls.values()) reject(new Error("closed"));
    this.onClose?.();
  }

  #send(message) {
    const json = text(JSON.stringify({ jsonrpc: "2.0", ...message }));
    const sealed = this.#ciphers.send.seal(Buffer.concat([Buffer.from([0]), json]));
    this.#socket.send(sealed, () => {});
  }

  notify(method, params) {
    this.#send({ method, params });
  }

  call(method, params) {
    const id = this.#next++;
    const answer = new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
    this.#send({ id, method, params });
    return answer;
  }

  async result(method, params) {
    const answer = await this.call(method, params);
    assert(answer.result, JSON.stringify(answer));
    return answer.result;
  }

  /** As when the network goes. */
  cut() {
    this.#socket.terminate();
  }
}

async function pair() {
  const id = `off_${base32(sha256(text("bowline/1 offer\n"), token).subarray(0, 16))}`;
  const pairing = { offer: id, secret: secret.toString("base64url") };
  const [connection] = await Connection.open({ purpose: "pairing", pairing }, offerKey);
  const method = await new Promise((resolve, reject) => {
    connection.onNotification = (message) => resolve(message.method);
    connection.onClose = () => reject(new Error("closed while pairing"));
  });
  assert.equal(method, "pairing.approved");
  connection.cut();
}

/** A table as section 4, live data, has it. */
class Table {
  rows = new Map();
  /** The keys above the first, up to the second, are as of `seq`. */
  pages = [];
  /** Of each key, the event or page that said it last. */
  said = new Map();
  resumed = 0;
  stale = 0;
  scope;
  follow;

  #took(after, page) {
    const end = page.more ? page.rows.at(-1).key : undefined;
    for (const key of [...this.rows.keys()]) {
      if (key > after && (end === undefined || key <= end)) this.rows.delete(key);
    }
    for (const { key, value } of page.rows) this.#says(key, page.seq, value);
    this.pages.push({ after, end, seq: page.seq });
  }

  #says(key, seq, value) {
    this.said.set(key, seq);
    if (value === undefined) this.rows.delete(key);
    else this.rows.set(key, value);
  }

  /** `seq`: of the last event applied, if the session was resumed. */
  async open(connection, seq) {
    const name = { kind: "table", name: "board.rows", params: { under: "a" } };
    const held = this.follow === undefined || seq === undefined ? {} : { seq, follow: this.follow };
    const first = await connection.result("live.open", { ...name, limit: 3, ...held });
    this.scope = first.scope;
    this.follow = first.follow;
    if (first.resumed) {
      this.resumed += 1;
    } else {
      this.rows.clear();
      this.said.clear();
      this.pages = [];
      this.#took("", first);
    }
    while (this.pages.at(-1).end !== undefined) {
      const after = this.pages.at(-1).end;
      this.#took(after, await connection.result("live.page", { ...name, after, limit: 3 }));
    }
  }

  /** Applies an event; returns the keys to fetch, if any. */
  event(seq, event) {
    const covers = (key) => key.startsWith(this.scope.slice(0, -1));
    const isNews = (key) => {
      const page = this.pages.findLast((page) => key > page.after && (page.end === undefined || key <= page.end));
      return covers(key) && page !== undefined && seq > Math.max(page.seq, this.said.get(key) ?? 0);
    };
    if (event.stale) {
      this.stale += 1;
      assert(event.keys, "few rows change at once");
      return event.keys.filter(isNews);
    }
    for (const { key, value } of event.upserts ?? []) if (isNews(key)) this.#says(key, seq, value);
    for (const key of event.removed ?? []) if (isNews(key)) this.#says(key, seq);
    return [];
  }

  async fetch(connection, keys) {
    const name = { kind: "table", name: "board.rows", params: { under: "a" } };
    const page = await connection.result("live.page", { ...name, keys });
    assert.equal(page.more, false);
    const values = new Map(page.rows.map(({ key, value }) => [key, value]));
    for (const key of keys) {
      if ((this.said.get(key) ?? 0) <= page.seq) this.#says(key, page.seq, values.get(key));
    }
  }
}

await pair();
const table = new Table();
const key = sha256(text("bowline/1 key\n"), deviceKey).subarray(0, 8).toString("base64url");
const intentId = crypto.randomUUID();
let resume;
const answered = [];
const told = [];
const states = [];
for (let cut = 0; !table.rows.has("a/end"); cut += 1) {
  const [connection, { session }] = await Connection.open({ purpose: "session", key, resume }, deviceKey);
  states.push(session.state);
  const isResumed = session.state === "resumed";
  if (!isResumed) resume = { epoch: session.epoch, lastSeq: session.nextSeq - 1 };
  resume.stamp = session.stamp;
  const fetching = [];
  let atEnd;
  const ended = new Promise((resolve) => (atEnd = resolve));
  connection.onClose = atEnd;
  // What comes before the first page has come is applied after it.
  let early = [];
  const apply = ({ seq, event }) => {
    if (event.type !== "table.changed" || event.name !== "board.rows") return;
    const keys = table.event(seq, event);
    if (keys.length > 0) fetching.push(table.fetch(connection, keys));
    if (event.intentId === intentId) told.push(seq);
    if (table.rows.has("a/end")) atEnd();
  };
  connection.onEvent = (params) => {
    if (params.seq <= resume.lastSeq) return;
    assert.equal(params.seq, resume.lastSeq + 1, "no event is missing");
    resume.lastSeq = params.seq;
    connection.notify("session.ack", { seq: params.seq });
    if (early) early.push(params);
    else apply(params);
  };
  try {
    const from = isResumed ? resume.lastSeq : undefined;
    await table.open(connection, from);
    early.splice(0).forEach(apply);
    early = undefined;
    // Tells the test how often it has attached.
    const count = { intentId: crypto.randomUUID(), rows: { "a/attached": cut + 1 } };
    await connection.result("board.put", count);
    const put = { intentId, rows: { "a/mine": { by: "foreign" } } };
    const answer = await connection.call("board.put", put);
    assert(answer.result, JSON.stringify(answer));
    answered.push(answer.seq);
    if (cut < Number(cuts)) setTimeout(() => connection.cut(), 20 + 60 * Math.random());
    if (table.rows.has("a/end")) atEnd();
    await ended;
    await Promise.all(fetching);
  } catch (error) {
    if (error.message !== "closed") throw error;
    // A row that was being fetched is opened anew.
    table.follow = undefined;
  }
  connection.cut();
}
const { rows, resumed, stale } = table;
console.log(JSON.stringify({ rows: Object.fromEntries(rows), states, resumed, stale, answered, told }));
