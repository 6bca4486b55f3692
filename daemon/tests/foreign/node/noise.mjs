// Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s for the initiator, on Node's own primitives: written from
// the Noise specification and docs/protocol.md, section 2.

import crypto from "node:crypto";

const NAME = Buffer.from("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s");
const TAG = 16;
// What stands before the 32 bytes of an X25519 key in DER.
const PUBLIC = Buffer.from("302a300506032b656e032100", "hex");

export const publicKey = (bytes, prefix = PUBLIC) =>
  crypto.createPublicKey({ key: Buffer.concat([prefix, bytes]), format: "der", type: "spki" });
export const rawPublic = (key) => key.export({ format: "der", type: "spki" }).subarray(-32);
export const keyPair = () => crypto.generateKeyPairSync("x25519");

const hash = (...parts) => crypto.createHash("blake2s256").update(Buffer.concat(parts)).digest();
const hmac = (key, ...parts) =>
  crypto.createHmac("blake2s256", key).update(Buffer.concat(parts)).digest();

function hkdf(key, input, outputs) {
  const temp = hmac(key, input);
  const all = [];
  for (let n = 1; n <= outputs; n += 1) {
    all.push(hmac(temp, all.at(-1) ?? Buffer.alloc(0), Buffer.from([n])));
  }
  return all;
}

/** One direction of a cipher. */
export class Cipher {
  #key;
  #nonce = 0n;

  constructor(key) {
    this.#key = key;
  }

  #next() {
    const nonce = Buffer.alloc(12);
    nonce.writeBigUInt64LE(this.#nonce, 4);
    this.#nonce += 1n;
    return nonce;
  }

  seal(plain, ad = Buffer.alloc(0)) {
    const options = { authTagLength: TAG };
    const cipher = crypto.createCipheriv("chacha20-poly1305", this.#key, this.#next(), options);
    cipher.setAAD(ad, { plaintextLength: plain.length });
    return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  open(sealed, ad = Buffer.alloc(0)) {
    const text = sealed.subarray(0, -TAG);
    const options = { authTagLength: TAG };
    const cipher = crypto.createDecipheriv("chacha20-poly1305", this.#key, this.#next(), options);
    cipher.setAAD(ad, { plaintextLength: text.length });
    cipher.setAuthTag(sealed.subarray(-TAG));
    return Buffer.concat([cipher.update(text), cipher.final()]);
  }
}

/** The initiator's handshake. */
export class Initiator {
  #h;
  #ck;
  #cipher;
  #static;
  #remote;
  #ephemeral = keyPair();

  constructor(prologue, ownStatic, remoteStatic) {
    this.#h = hash(NAME);
    this.#ck = this.#h;
    this.#static = ownStatic;
    this.#remote = publicKey(remoteStatic);
    this.#mixHash(prologue);
    this.#mixHash(remoteStatic);
  }

  #mixHash(data) {
    this.#h = hash(this.#h, data);
  }

  #mixKey(input) {
    const [ck, key] = hkdf(this.#ck, input, 2);
    this.#ck = ck;
    this.#cipher = new Cipher(key);
  }

  #dh(own, theirs) {
    this.#mixKey(crypto.diffieHellman({ privateKey: own.privateKey, publicKey: theirs }));
  }

  #sealed(plain) {
    const sealed = this.#cipher.seal(plain, this.#h);
    this.#mixHash(sealed);
    return sealed;
  }

  /** Message 1 with this payload. */
  write(payload) {
    const ephemeral = rawPublic(this.#ephemeral.publicKey);
    this.#mixHash(ephemeral);
    this.#mixKey(ephemeral);
    this.#dh(this.#ephemeral, this.#remote);
    const own = this.#sealed(rawPublic(this.#static.publicKey));
    this.#dh(this.#static, this.#remote);
    return Buffer.concat([ephemeral, own, this.#sealed(payload)]);
  }

  /** The payload of message 2, and the ciphers of both directions. */
  read(message, psk) {
    const theirs = message.subarray(0, 32);
    this.#mixHash(theirs);
    this.#mixKey(theirs);
    this.#dh(this.#ephemeral, publicKey(theirs));
    this.#dh(this.#static, publicKey(theirs));
    const [ck, temp, key] = hkdf(this.#ck, psk, 3);
    this.#ck = ck;
    this.#mixHash(temp);
    this.#cipher = new Cipher(key);
    const payload = this.#cipher.open(message.subarray(32), this.#h);
    const [send, receive] = hkdf(this.#ck, Buffer.alloc(0), 2);
    return { payload, send: new Cipher(send), receive: new Cipher(receive) };
  }
}
