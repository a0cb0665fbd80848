#!/usr/bin/env node
// A complete child in Node with no library: messages and requests both ways, over frames.
//
// The first half, `Parent`, is made to be copied into a program of your own; the second half, from
// `answer` on, is a worker that uses all of it. Node 18 or later, no dependency.
//
//     input ──► inbox ───────────────► messages()          ┌─ send(), request(), item():
//         │ └─► 64 promises ─────────► serve(handler)      │  wait for credit and a pipe with room
//         └─ pong, credit, failure ──► output ◄────────────┘
//
// Input is always read, also while the output is full. What has no credit yet waits in the promise
// of whoever sends it, and holds up nobody else.

import { Console } from "node:console";
import { constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { basename, isAbsolute } from "node:path";

const MESSAGE = 0, REQUEST = 1, REPLY = 2, FAILURE = 3, CANCEL = 4, ITEM = 5, CREDIT = 6;
const HELLO = 0x10, READY = 0x11, STOP = 0x12, PING = 0x13, PONG = 0x14, BYE = 0x15;
const EXTENSIONS = 0x80; // kinds from here on may be skipped
// What precedes the payload in the body, in bytes; the limit is on the payload alone.
const FIXED_FIELDS = new Map([
  [MESSAGE, 0], [REQUEST, 8], [REPLY, 8], [FAILURE, 8], [CANCEL, 8], [ITEM, 8], [CREDIT, 12],
  [HELLO, 20], [READY, 0], [STOP, 0], [PING, 8], [PONG, 8], [BYE, 4],
]);

const MESSAGE_LANE = 0n;
const REQUEST_LANE = 2n ** 64n - 1n; // between the two, each request has a lane for its items
const OVERHEAD = 64; // credit that a message costs on top of its payload
const WINDOW = 1 << 20; // bytes that the parent may send on a lane before we have taken any
const HANDLERS = 64; // requests that are served at a time
const OUTPUT = 1 << 16; // bytes that may be queued for the pipe before senders wait
const MAX_LIMIT = 2 ** 32 - 1025;

/** The environment does not say how to talk to a parent. */
export class Refused extends Error {}

/** The parent has ended the conversation; what was to come from it will not. */
export class ParentGone extends Error {}

/** The parent no longer wants the answer to this request. */
export class Cancelled extends Error {}

/** The parent answered our request by a failure. */
export class Failed extends Error {}

/** Credit that the parent has granted us on one lane. */
class Lane {
  balance = 0;
  cancelled = false; // nobody wants any more what waits here
}

/** What we let the parent send on one lane. */
class Window {
  #taken = 0; // consumed, and not yet granted again

  /** The credit to grant now: in portions, and not a frame for each message. */
  consumed(size) {
    this.#taken += size + OVERHEAD;
    if (this.#taken < WINDOW / 4) return 0;
    const granted = this.#taken;
    this.#taken = 0;
    return granted;
  }
}

/** A request of the parent, as its handler sees it; also the lane of its items. */
class Request extends Lane {
  constructor(parent, number, payload) {
    super();
    Object.assign(this, { parent, number, payload });
  }

  /** Sends a part of the answer, when there is credit for it. */
  async item(payload) {
    await this.parent._send(ITEM, payload, this, u64(this.number));
  }

  /** Waits until the condition holds. Throws `Cancelled` if the parent cancels before. */
  async wait(condition = () => false) {
    await this.parent._until(() => condition() || this.cancelled);
    if (!condition()) throw new Cancelled("cancelled");
  }
}

/** What the parent answers to a request of ours: iterate over the items, then take the reply. */
class Answer {
  items = [];
  end = null; // { reply } or { error }
  #window = new Window();

  constructor(parent, number) {
    Object.assign(this, { parent, number });
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      await this.parent._until(() => this.items.length > 0 || this.end);
      if (this.items.length === 0) return;
      const item = this.items.shift();
      const granted = this.#window.consumed(item.length);
      if (granted && !this.end) this.parent._grant(this.number, granted);
      yield item;
    }
  }

  /** Waits for the reply; throws `Failed` or `ParentGone`. Items not yet taken are dropped. */
  async reply() {
    for await (const _ of this);
    if (this.end.error) throw this.end.error;
    return this.end.reply;
  }

  /** Tells the parent that the answer is no longer wanted. It ends the request all the same. */
  cancel() {
    if (!this.end) this.parent._push(CANCEL, u64(this.number));
  }
}

/** The parent of this process. Connects as the environment says, and says hello. */
export class Parent {
  stopping = false; // the parent has asked us to stop, or ended our input
  ended = false; // nothing more will come in
  error = null; // why framing was lost

  #waiters = new Set(); // { condition, wake }
  #inbox = [];
  #window = new Window();
  #requestWindow = new Window();
  #messages = new Lane();
  #asking = new Lane();
  #requests = new Map(); // the parent's, that we have not ended yet
  #answers = new Map(); // to our own, that have not ended yet
  #nextNumber = 1n;
  #handler = null;
  #waiting = []; // requests that no handler has taken yet
  #running = 0;
  #stopCallbacks = [];
  #finished = false;
  #outputClosed = false;
  #heard = Date.now();
  #input;
  #output;
  #received = []; // chunks
  #receivedBytes = 0;

  constructor(environment = process.env) {
    const { inputPath, outputPath } = this.#readEnvironment(environment);
    [this.#input, this.#output] = openChannel(inputPath, outputPath);
    // Hello is our first frame: version 1.0, feature bit 0 (credit), and who we are.
    const hello = Buffer.alloc(20);
    hello.write("procession");
    hello.writeUInt16BE(0x0100, 10);
    hello.writeUInt32BE(1, 12);
    hello.writeUInt32BE(process.pid, 16);
    this._push(HELLO, hello);
    this._grant(MESSAGE_LANE, WINDOW);
    this._grant(REQUEST_LANE, WINDOW);

    this.#input.on("data", (chunk) => this.#read(chunk));
    this.#input.on("error", () => {});
    this.#input.on("close", () => this.#end(this.#receivedBytes ? "the input ended inside a frame" : null));
    this.#output.on("drain", () => this.#changed());
    this.#output.on("error", () => {}); // nobody reads any more
    this.#output.on("close", () => {
      this.#outputClosed = true;
      this.#end(null);
    });
    if (this.lease !== null) this.#watchLease();
  }

  // What a program uses.

  /** Says that we have started, or that the status is another now. */
  ready(status = "") {
    const payload = Buffer.from(status);
    this.#check(payload);
    this._push(READY, payload);
  }

  /** The messages, until the parent asks us to stop or ends our input. */
  async *messages() {
    for (;;) {
      await this._until(() => this.#inbox.length > 0 || this.stopping);
      if (this.#inbox.length === 0) return;
      const message = this.#inbox.shift();
      const granted = this.#window.consumed(message.length);
      if (granted) this._grant(MESSAGE_LANE, granted);
      yield message;
    }
  }

  /** Sends a message, when there is credit for it. */
  async send(message) {
    await this._send(MESSAGE, message, this.#messages);
  }

  /** Asks the parent, when there is credit for it; resolves to the `Answer` to wait for. */
  async request(payload) {
    return await this.#withCredit(this.#asking, payload, () => {
      const number = this.#nextNumber++;
      const answer = new Answer(this, number);
      this.#answers.set(number, answer);
      this._push(REQUEST, u64(number), payload);
      this._grant(number, WINDOW);
      return answer;
    });
  }

  /** From now on `handler(request)` answers the parent's requests: by the bytes that its promise
   * resolves to, or by a failure if it throws. Up to 64 run at a time. */
  serve(handler) {
    this.#handler = handler;
    this.#runHandlers();
  }

  /** Calls back, once, when the parent asks us to stop or ends our input. */
  onStop(callback) {
    if (this.stopping) callback();
    else this.#stopCallbacks.push(callback);
  }

  /** Waits for the handlers, says that nothing follows, and resolves to the exit status. */
  async finish(status = 0) {
    this.stopping = true;
    if (!this.#handler) this.serve(() => { throw new Error("nobody serves requests here"); });
    await this._until(() => this.#requests.size === 0);
    if (this.error && status === 0) status = 1;
    const bye = Buffer.alloc(4);
    bye.writeInt32BE(status);
    this._push(BYE, bye);
    this.#finished = true;
    this.#output.end();
    await this._until(() => this.#outputClosed);
    this.#input.destroy();
    return status;
  }

  // What goes out.

  _push(kind, ...parts) {
    if (this.#finished || this.#outputClosed) return;
    const header = Buffer.alloc(5);
    header.writeUInt32BE(parts.reduce((sum, part) => sum + part.length, 0));
    header[4] = kind;
    // One write for a frame: whatever comes between two writes cannot come inside one.
    this.#output.write(Buffer.concat([header, ...parts]));
  }

  async _send(kind, payload, lane, ...fields) {
    await this.#withCredit(lane, payload, () => this._push(kind, ...fields, payload));
  }

  _grant(lane, credit) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(credit);
    this._push(CREDIT, u64(lane), bytes);
  }

  /** Waits until a frame may be sent on this lane, and sends it. From the look at the balance to
   * the end nothing is awaited: somebody else might spend it meanwhile. */
  async #withCredit(lane, payload, send) {
    this.#check(payload);
    // No credit can come after the end of input.
    const hopeless = () => this.#outputClosed || this.#finished || (this.ended && lane.balance <= 0);
    const free = () => lane.balance > 0 && this.#output.writableLength < OUTPUT;
    while (!(lane.cancelled || hopeless() || free())) {
      await this._until(() => lane.cancelled || hopeless() || free());
    }
    if (lane.cancelled) throw new Cancelled("cancelled");
    if (hopeless()) throw new ParentGone("the parent is gone");
    lane.balance -= payload.length + OVERHEAD; // the last one may overshoot
    return send();
  }

  #check(payload) {
    if (payload.length > this.limit) {
      throw new RangeError(`${payload.length} bytes are over the limit of ${this.limit}`);
    }
  }

  #fail(number, text) {
    let bytes = Buffer.from(text);
    if (bytes.length > this.limit) {
      let end = this.limit;
      while (end > 0 && (bytes[end] & 0xc0) === 0x80) end--; // between two characters
      bytes = bytes.subarray(0, end);
    }
    this._push(FAILURE, u64(number), bytes);
    this.#requests.delete(number);
    this.#changed();
  }

  // Whoever waits for something waits here.

  async _until(condition) {
    if (condition()) return;
    await new Promise((wake) => this.#waiters.add({ condition, wake }));
  }

  #changed() {
    for (const waiter of this.#waiters) {
      if (waiter.condition()) {
        this.#waiters.delete(waiter);
        waiter.wake();
      }
    }
  }

  // What comes in.

  #read(chunk) {
    if (this.ended) return;
    this.#heard = Date.now();
    this.#received.push(chunk);
    this.#receivedBytes += chunk.length;
    while (this.#receivedBytes >= 5 && !this.ended) {
      if (this.#received[0].length < 5) this.#join();
      const length = this.#received[0].readUInt32BE();
      const kind = this.#received[0][4];
      const fixed = kind >= EXTENSIONS ? 0 : FIXED_FIELDS.get(kind);
      const name = `0x${kind.toString(16).padStart(2, "0")}`;
      if (fixed === undefined) return this.#lose(`frames of kind ${name} are unknown`);
      if (length < fixed) return this.#lose(`${length} bytes are too few for a frame of kind ${name}`);
      if (length - fixed > (kind === HELLO ? 1004 : this.limit)) {
        return this.#lose(`a frame of ${length} bytes is over the limit`);
      }
      if (this.#receivedBytes < 5 + length) return;
      if (this.#received[0].length < 5 + length) this.#join();
      const body = this.#received[0].subarray(5, 5 + length);
      this.#received[0] = this.#received[0].subarray(5 + length);
      this.#receivedBytes -= 5 + length;
      if (this.#received[0].length === 0) this.#received.shift();
      this.#receive(kind, body);
      this.#changed();
    }
  }

  #join() {
    this.#received = [Buffer.concat(this.#received)];
  }

  #lose(error) {
    this.#end(error);
    this.#input.destroy();
  }

  #receive(kind, body) {
    if (kind === MESSAGE) {
      if (!this.stopping) this.#inbox.push(body);
    } else if (kind === PING) {
      this._push(PONG, body.subarray(0, 8));
    } else if (kind === STOP) {
      this.#stop();
    } else if (kind === CREDIT) {
      const number = body.readBigUInt64BE();
      const lane = number === MESSAGE_LANE ? this.#messages
        : number === REQUEST_LANE ? this.#asking : this.#requests.get(number);
      if (lane) lane.balance += body.readUInt32BE(8);
    } else if ([REQUEST, REPLY, FAILURE, CANCEL, ITEM].includes(kind)) {
      this.#receiveNumbered(kind, body.readBigUInt64BE(), body.subarray(8));
    }
    // Pongs, extensions and what is not meant for a child are skipped.
  }

  #receiveNumbered(kind, number, payload) {
    const request = this.#requests.get(number);
    const answer = this.#answers.get(number);
    if (kind === REQUEST) {
      const unusable = number === 0n || number === REQUEST_LANE || request;
      if (unusable || this.stopping) {
        this.#requestTaken(payload);
        if (!unusable) this.#fail(number, "stopping");
        return;
      }
      const accepted = new Request(this, number, payload);
      this.#requests.set(number, accepted);
      this.#waiting.push(accepted);
      this.#runHandlers();
    } else if (kind === CANCEL && request) {
      request.cancelled = true;
      const queued = this.#waiting.indexOf(request);
      if (queued >= 0) { // it has not begun, and need not
        this.#waiting.splice(queued, 1);
        this.#requestTaken(request.payload);
        this.#fail(number, "cancelled");
      }
    } else if (kind === ITEM && answer) {
      answer.items.push(payload);
    } else if (kind === REPLY && answer) {
      answer.end = { reply: payload };
      this.#answers.delete(number);
    } else if (kind === FAILURE && answer) {
      answer.end = { error: new Failed(payload.toString()) };
      this.#answers.delete(number);
    }
  }

  #requestTaken(payload) {
    const granted = this.#requestWindow.consumed(payload.length);
    if (granted) this._grant(REQUEST_LANE, granted);
  }

  #runHandlers() {
    while (this.#handler && this.#running < HANDLERS && this.#waiting.length > 0) {
      this.#running++;
      const request = this.#waiting.shift();
      this.#requestTaken(request.payload);
      this.#handle(request).finally(() => {
        this.#running--;
        this.#runHandlers();
      });
    }
  }

  async #handle(request) {
    try {
      if (request.cancelled) throw new Cancelled("cancelled");
      const reply = await this.#handler(request);
      this.#check(reply);
      this._push(REPLY, u64(request.number), reply);
      this.#requests.delete(request.number);
      this.#changed();
    } catch (error) { // whatever it is, the request must end
      this.#fail(request.number, error instanceof Error ? error.message : String(error));
    }
  }

  #stop() {
    if (this.stopping) return;
    this.stopping = true;
    for (const callback of this.#stopCallbacks) queueMicrotask(callback);
    this.#changed();
  }

  /** Nothing more comes in: no credit, no answer, and nobody to cancel a request. */
  #end(error) {
    if (!this.ended) {
      this.ended = true;
      this.error = error;
      if (error) console.error(`${basename(process.argv[1] ?? "node")}: ${error}`);
      this.#stop();
      for (const request of this.#requests.values()) request.cancelled = true;
      for (const answer of this.#answers.values()) {
        answer.end = { error: new ParentGone("the parent is gone") };
      }
      this.#answers.clear();
    }
    this.#changed();
  }

  #watchLease() {
    const left = this.#heard + this.lease - Date.now();
    if (left <= 0) {
      console.error("the parent is silent, its lease is over");
      process.exit(1);
    }
    setTimeout(() => this.#watchLease(), Math.min(left, 3_600_000)).unref();
  }

  // The environment, read as strictly as the protocol says.

  #readEnvironment(environment) {
    const required = (name) => {
      if (environment[name] === undefined) {
        throw new Refused(`${name} is not set: start me from a Procession parent`);
      }
      return environment[name];
    };
    const refuse = (name, why) => {
      throw new Refused(`${name} is ${JSON.stringify(environment[name])}, ${why}`);
    };
    const absolute = (name) =>
      isAbsolute(required(name)) ? environment[name] : refuse(name, "which is no absolute path");
    const number = (name, least, most) => {
      const text = required(name);
      const value = /^[0-9]+$/.test(text) ? BigInt(text) : -1n;
      return least <= value && value <= most
        ? Number(value)
        : refuse(name, `which is no number from ${least} to ${most}`);
    };
    const channel = (name, stdio, pipe) => {
      const word = required(name);
      if (word === "pipe") return absolute(pipe);
      return word === stdio ? null : refuse(name, `and this child needs "${stdio}" or "pipe"`);
    };

    this.dataDir = absolute("PROCESS_DATA_DIR");
    if (required("MESSAGE_FRAMING") !== "frames/1") {
      refuse("MESSAGE_FRAMING", 'and this child speaks "frames/1"');
    }
    this.limit = number("MESSAGE_LIMIT", 0n, BigInt(MAX_LIMIT));
    const inputPath = channel("MESSAGE_INPUT", "stdin", "INPUT_PIPE");
    const outputPath = channel("MESSAGE_OUTPUT", "stdout", "OUTPUT_PIPE");
    const leased = environment.MESSAGE_LEASE !== undefined;
    this.lease = leased ? number("MESSAGE_LEASE", 1n, 2n ** 64n - 1n) : null;
    return { inputPath, outputPath };
  }
}

function u64(number) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(number);
  return bytes;
}

/** The two ends of the channel; a path of null stands for standard input or output. */
function openChannel(inputPath, outputPath) {
  const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;
  const readEnd = inputPath === null ? 0 : openSync(inputPath, O_RDONLY | O_NONBLOCK);
  const writeEnd = outputPath === null ? 1 : openSync(outputPath, O_WRONLY | O_NONBLOCK);
  if (outputPath === null) {
    // Node cannot duplicate a descriptor; but whatever is printed becomes a line of the log, not a
    // broken frame. What is started from here must not be given our standard output to inherit.
    Object.defineProperty(process, "stdout", { get: () => process.stderr });
    globalThis.console = new Console(process.stderr);
  }
  return [
    new Socket({ fd: readEnd, readable: true, writable: false }),
    new Socket({ fd: writeEnd, readable: false, writable: true }),
  ];
}

// Here ends what is to be copied.

/** A request is a verb, and for some a space and an argument. */
async function answer(request) {
  const { parent, payload } = request;
  const space = payload.indexOf(" ");
  const verb = space < 0 ? payload.toString() : payload.toString("utf8", 0, space);
  const argument = space < 0 ? Buffer.alloc(0) : payload.subarray(space + 1);
  switch (verb) {
    case "echo":
      return argument;
    case "items":
      for (let number = 0; number < Number(argument); number++) {
        await request.item(Buffer.from(String(number)));
      }
      return Buffer.from("done");
    case "fail":
      throw new Error(argument.toString());
    case "panic":
      throw new TypeError("the handler panicked");
    case "wait":
      return await request.wait();
    case "hold":
      await request.wait(() => parent.stopping);
      return Buffer.from("stopped");
    case "ask":
      return await (await parent.request(argument)).reply();
    case "collect": {
      const items = [];
      for await (const item of await parent.request(argument)) items.push(item, Buffer.from("\n"));
      return Buffer.concat(items.slice(0, -1));
    }
    case "forget":
      (await parent.request(argument)).cancel();
      return Buffer.from("forgotten");
    default:
      throw new Error(`there is no verb ${JSON.stringify(verb)}`);
  }
}

async function main() {
  let parent;
  try {
    parent = new Parent();
  } catch (error) {
    console.error(`worker.mjs: ${error.message}`);
    process.exitCode = 1;
    return;
  }
  parent.onStop(() => console.log("asked to stop")); // to the log
  parent.serve(answer);
  parent.ready("at work");
  try {
    for await (const message of parent.messages()) await parent.send(message);
  } catch (error) {
    if (!(error instanceof ParentGone)) throw error;
  }
  process.exitCode = await parent.finish();
}

await main();
