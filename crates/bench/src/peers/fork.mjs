// Node's own way to have a child: `child_process.fork`, and the channel that comes with it.
//
//   node fork.mjs JOB COUNT SIZE
//
// Does the job with a forked child, a tenth of it beforehand to warm up, checks what came of it, and prints
// "COUNT SECONDS". Bytes go as Buffers (the serialization "advanced"), requests as JSON, which is the default.
// The child ends with its channel, and both by a deadline.

import { fork } from "node:child_process";

const OVERDUE = 75;
setTimeout(() => process.exit(OVERDUE), 60_000).unref();

/** The most messages that are on their way before one is waited for. */
const AHEAD = 256;

const send = (channel, message) =>
  new Promise((sent, failed) => channel.send(message, (error) => (error ? failed(error) : sent())));

/** What comes over a channel, to be awaited. */
class Inbox {
  #messages = [];
  #first = 0;
  #waiting = null;

  constructor(channel) {
    channel.on("message", (message) => {
      if (this.#waiting) {
        const take = this.#waiting;
        this.#waiting = null;
        take(message);
      } else {
        this.#messages.push(message);
      }
    });
  }

  next() {
    if (this.#first < this.#messages.length) {
      return Promise.resolve(this.#messages[this.#first++]);
    }
    this.#messages = [];
    this.#first = 0;
    return new Promise((take) => (this.#waiting = take));
  }
}

const check = (holds, what) => {
  if (!holds) throw new Error(what);
};

// The child's side of each job.
const children = {
  "round-trip": () => process.on("message", (message) => process.send(message)),
  request: () => process.on("message", (numbers) => process.send(numbers.reduce((a, b) => a + b, 0))),
  async "flood-in"() {
    const inbox = new Inbox(process);
    for (;;) {
      const { count, size } = await inbox.next();
      const message = Buffer.alloc(size, "x");
      for (let at = 1; at < count; at++) {
        if (at % AHEAD === 0) await send(process, message);
        else process.send(message);
      }
      await send(process, message);
    }
  },
  "flood-out"() {
    let messages = 0;
    let bytes = 0;
    process.on("message", (message) => {
      if (Buffer.isBuffer(message)) {
        messages += 1;
        bytes += message.length;
      } else {
        process.send({ messages, bytes });
        messages = bytes = 0;
      }
    });
  },
};

// The parent's side: each does so much and throws when something is lost, doubled or changed.
const parents = {
  async "round-trip"(child, inbox, count, size) {
    for (let at = 0; at < count; at++) {
      const message = Buffer.alloc(size, at);
      child.send(message);
      check(message.equals(await inbox.next()), "an echo is not what was sent");
    }
  },
  async request(child, inbox, count, size) {
    for (let at = 0; at < count; at++) {
      const numbers = Array(size).fill(1.5);
      numbers[0] = at;
      child.send(numbers);
      check((await inbox.next()) === at + 1.5 * (size - 1), "a sum is wrong");
    }
  },
  async "flood-in"(child, inbox, count, size) {
    child.send({ count, size });
    for (let at = 0; at < count; at++) {
      check((await inbox.next()).length === size, "a message is not what was ordered");
    }
    // A message too many would come before this one.
    child.send({ count: 1, size: size + 1 });
    check((await inbox.next()).length === size + 1, "more came than was ordered");
  },
  async "flood-out"(child, inbox, count, size) {
    const message = Buffer.alloc(size, "x");
    for (let at = 0; at < count; at++) await send(child, message);
    child.send({});
    const { messages, bytes } = await inbox.next();
    check(messages === count && bytes === count * size, "the child did not receive what was sent");
  },
};

async function parent(job, count, size) {
  const serialization = job === "request" ? "json" : "advanced";
  const child = fork(process.argv[1], ["child", job], { serialization });
  child.on("exit", () => {
    console.error("the child ended early");
    process.exit(1);
  });
  const inbox = new Inbox(child);
  await parents[job](child, inbox, Math.ceil(count / 10), size);
  const started = process.hrtime.bigint();
  await parents[job](child, inbox, count, size);
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  child.removeAllListeners("exit");
  child.disconnect();
  console.log(`${count} ${seconds}`);
}

const [job, ...rest] = process.argv.slice(2);
if (job === "child") children[rest[0]]();
else {
  parent(job, ...rest.map(Number)).catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
}
