#!/usr/bin/env python3
"""A complete child in Python with no library: messages and requests both ways, over frames.

The first half, `Parent`, is made to be copied into a program of your own; the second half, from
`echo` on, is a worker that uses all of it. Python 3.8 or later, standard library only.

    reader thread ──► inbox ──────────► messages()          ┌─ send(), request(), item():
         │      └───► 64 threads ─────► serve(handler)      │  wait for credit, then queue
         └─ pong, credit, failure ────► outbox ◄────────────┘
                                          └─► writer thread

The reader waits for nothing but the pipe. Whatever is in the outbox may be written at once: what
has no credit yet waits outside, in the thread that sends it, and holds up nobody else.
"""

import collections
import concurrent.futures
import os
import re
import struct
import sys
import threading
import time

MESSAGE, REQUEST, REPLY, FAILURE, CANCEL, ITEM, CREDIT = range(7)
HELLO, READY, STOP, PING, PONG, BYE = range(0x10, 0x16)
EXTENSIONS = 0x80  # kinds from here on may be skipped
# What precedes the payload in the body, in bytes; the limit is on the payload alone.
FIXED_FIELDS = {
    MESSAGE: 0, REQUEST: 8, REPLY: 8, FAILURE: 8, CANCEL: 8, ITEM: 8, CREDIT: 12,
    HELLO: 20, READY: 0, STOP: 0, PING: 8, PONG: 8, BYE: 4,
}

MESSAGE_LANE = 0
REQUEST_LANE = 2**64 - 1  # between the two, each request has a lane for its items
OVERHEAD = 64  # credit that a message costs on top of its payload
WINDOW = 1 << 20  # bytes that the parent may send on a lane before we have taken any
HANDLERS = 64  # requests that are served at a time
OUTBOX = 1 << 16  # bytes that may be queued for the pipe before senders wait
MAX_LIMIT = 2**32 - 1025


class Refused(Exception):
    """The environment does not say how to talk to a parent."""


class ParentGone(Exception):
    """The parent has ended the conversation; what was to come from it will not."""


class Cancelled(Exception):
    """The parent no longer wants the answer to this request."""

    def __init__(self):
        super().__init__("cancelled")


class Failed(Exception):
    """The parent answered our request by a failure."""


class Lane:
    """Credit that the parent has granted us on one lane."""

    def __init__(self):
        self.balance = 0
        self.cancelled = False  # nobody wants any more what waits here


class Window:
    """What we let the parent send on one lane."""

    def __init__(self):
        self.taken = 0  # consumed, and not yet granted again

    def consumed(self, size):
        """The credit to grant now: in portions, and not a frame for each message."""
        self.taken += size + OVERHEAD
        if self.taken < WINDOW // 4:
            return 0
        granted, self.taken = self.taken, 0
        return granted


class Request(Lane):
    """A request of the parent, as its handler sees it; also the lane of its items."""

    def __init__(self, parent, number, payload):
        super().__init__()
        self.parent, self.number, self.payload = parent, number, payload
        self.turn = None  # of the handlers' queue

    def item(self, payload):
        """Sends a part of the answer, when there is credit for it."""
        self.parent._send(ITEM, payload, self, self.number)

    def wait(self, condition=lambda: False):
        """Waits until the condition holds. Raises `Cancelled` if the parent cancels before."""
        with self.parent._changed:
            self.parent._changed.wait_for(lambda: condition() or self.cancelled)
            if not condition():
                raise Cancelled


class Answer:
    """What the parent answers to a request of ours: iterate over the items, then take the reply."""

    def __init__(self, parent, number):
        self.parent, self.number = parent, number
        self.window = Window()
        self.items = collections.deque()
        self.end = None  # (reply, None) or (None, exception)

    def __iter__(self):
        while True:
            with self.parent._changed:
                self.parent._changed.wait_for(lambda: self.items or self.end)
                if not self.items:
                    return
                item = self.items.popleft()
                granted = self.window.consumed(len(item))
                if granted and not self.end:
                    self.parent._grant(self.number, granted)
            yield item

    def reply(self):
        """Waits for the reply; raises `Failed` or `ParentGone`. Items not yet taken are dropped."""
        for _ in self:
            pass
        reply, error = self.end
        if error:
            raise error
        return reply

    def cancel(self):
        """Tells the parent that the answer is no longer wanted. It ends the request all the same."""
        with self.parent._changed:
            if not self.end:
                self.parent._push(CANCEL, struct.pack(">Q", self.number))


class Parent:
    """The parent of this process. Connects as the environment says, and says hello."""

    def __init__(self, environment=os.environ):
        input_path, output_path = self._read_environment(environment)
        # One lock for all that is below; `_changed` tells whoever waits for any of it.
        self._changed = threading.Condition(threading.RLock())
        self._outbox = collections.deque()
        self._outbox_bytes = 0
        self._inbox = collections.deque()
        self._window = Window()
        self._request_window = Window()
        self._messages = Lane()
        self._asking = Lane()
        self._requests = {}  # the parent's, that we have not ended yet
        self._answers = {}  # to our own, that have not ended yet
        self._next_number = 1
        self._handler = None
        self._early = []  # requests that came before there was a handler
        self._handlers = concurrent.futures.ThreadPoolExecutor(HANDLERS)
        self._stop_callbacks = []
        self._finished = False
        self.stopping = False  # the parent has asked us to stop, or ended our input
        self.ended = False  # nothing more will come in
        self.error = None  # why framing was lost
        self._heard = time.monotonic()

        self._input, self._output = open_channel(input_path, output_path)
        # Hello is our first frame: version 1.0, feature bit 0 (credit), and who we are.
        self._push(HELLO, b"procession" + struct.pack(">HII", 0x0100, 1, os.getpid()))
        self._grant(MESSAGE_LANE, WINDOW)
        self._grant(REQUEST_LANE, WINDOW)
        self._writer = self._start(self._write)
        self._start(self._read)
        if self.lease is not None:
            self._start(self._watch_lease)

    # What a program uses.

    def ready(self, status=""):
        """Says that we have started, or that the status is another now."""
        payload = status.encode("utf-8", "replace")
        self._check(payload)
        self._push(READY, payload)

    def messages(self):
        """The messages, until the parent asks us to stop or ends our input."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._inbox or self.stopping)
                if not self._inbox:
                    return
                message = self._inbox.popleft()
                granted = self._window.consumed(len(message))
                if granted:
                    self._grant(MESSAGE_LANE, granted)
            yield message

    def send(self, message):
        """Sends a message, when there is credit for it."""
        self._send(MESSAGE, message, self._messages)

    def request(self, payload):
        """Asks the parent, when there is credit for it; returns the `Answer` to wait for."""
        with self._changed:
            self._check(payload)
            self._wait_for_credit(self._asking)
            number = self._next_number
            self._next_number += 1
            answer = self._answers[number] = Answer(self, number)
            self._asking.balance -= len(payload) + OVERHEAD
            self._push(REQUEST, struct.pack(">Q", number) + payload)
            self._grant(number, WINDOW)
            return answer

    def serve(self, handler):
        """From now on `handler(request)` answers the parent's requests: by the bytes that it
        returns, or by a failure if it raises. Up to 64 run at a time, each in a thread."""
        with self._changed:
            self._handler = handler
            for request in self._early:
                request.turn = self._handlers.submit(self._handle, request)
            self._early.clear()

    def on_stop(self, callback):
        """Calls back, once, when the parent asks us to stop or ends our input."""
        with self._changed:
            if not self.stopping:
                self._stop_callbacks.append(callback)
                return
        callback()

    def finish(self, status=0):
        """Waits for the handlers, says that nothing follows, and returns the exit status."""
        with self._changed:
            self.stopping = True
            for request in self._early:
                self._fail(request.number, "nobody serves requests here")
            self._early.clear()
            self._changed.wait_for(lambda: not self._requests)
            if self.error and status == 0:
                status = 1
            self._push(BYE, struct.pack(">i", status))
            self._finished = True
            self._changed.notify_all()
        self._writer.join()
        self._handlers.shutdown()
        return status

    # What goes out. All of it is called with the lock, or takes it.

    def _push(self, kind, body):
        with self._changed:
            self._changed.notify_all()
            if self._finished:
                return
            self._outbox.append(struct.pack(">IB", len(body), kind) + body)
            self._outbox_bytes += len(body)

    def _send(self, kind, payload, lane, number=None):
        with self._changed:
            self._check(payload)
            self._wait_for_credit(lane)
            lane.balance -= len(payload) + OVERHEAD  # the last one may overshoot
            fields = b"" if number is None else struct.pack(">Q", number)
            self._push(kind, fields + payload)

    def _wait_for_credit(self, lane):
        def hopeless():  # no credit can come after the end of input
            return self._finished or (self.ended and lane.balance <= 0)

        def free():
            return lane.balance > 0 and self._outbox_bytes < OUTBOX

        self._changed.wait_for(lambda: lane.cancelled or hopeless() or free())
        if lane.cancelled:
            raise Cancelled
        if hopeless():
            raise ParentGone("the parent is gone")

    def _check(self, payload):
        if len(payload) > self.limit:
            raise ValueError(f"{len(payload)} bytes are over the limit of {self.limit}")

    def _grant(self, lane, credit):
        self._push(CREDIT, struct.pack(">QI", lane, credit))

    def _fail(self, number, text):
        text = text.encode("utf-8", "replace")[: self.limit].decode("utf-8", "ignore")
        self._requests.pop(number, None)
        self._push(FAILURE, struct.pack(">Q", number) + text.encode())

    def _write(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outbox or self._finished)
                if not self._outbox:
                    break
                frames = b"".join(self._outbox)
                self._outbox.clear()
            try:
                rest = memoryview(frames)
                while rest:
                    rest = rest[os.write(self._output, rest) :]
            except OSError:  # nobody reads any more
                with self._changed:
                    self._end("")
                    self._outbox.clear()
                    self._finished = True
                break
            with self._changed:
                self._outbox_bytes = sum(map(len, self._outbox))
                self._changed.notify_all()
        os.close(self._output)

    # What comes in.

    def _read(self):
        received = bytearray()

        def take(size):
            """The next bytes, fewer at the end. Allocates for what is there, not for claims."""
            while len(received) < size:
                try:
                    more = os.read(self._input, 1 << 16)
                except OSError:
                    more = b""
                if not more:
                    break
                self._heard = time.monotonic()
                received.extend(more)
            taken = bytes(received[:size])
            del received[:size]
            return taken

        error = ""
        while not error:
            header = take(5)
            if not header:
                break
            length, kind = struct.unpack(">IB", header.ljust(5, b"\0"))
            fixed = 0 if kind >= EXTENSIONS else FIXED_FIELDS.get(kind)
            if len(header) < 5:
                error = "the input ended inside a frame"
            elif fixed is None:
                error = f"frames of kind {kind:#04x} are unknown"
            elif length < fixed:
                error = f"{length} bytes are too few for a frame of kind {kind:#04x}"
            elif length - fixed > (1004 if kind == HELLO else self.limit):
                error = f"a frame of {length} bytes is over the limit"
            else:
                body = take(length)
                if len(body) < length:
                    error = "the input ended inside a frame"
                else:
                    with self._changed:
                        self._receive(kind, body)
                        self._changed.notify_all()
        with self._changed:
            self._end(error)
        os.close(self._input)

    def _receive(self, kind, body):
        if kind == MESSAGE:
            if not self.stopping:
                self._inbox.append(body)
        elif kind == PING:
            self._push(PONG, body[:8])
        elif kind == STOP:
            self._stop()
        elif kind == CREDIT:
            number, credit = struct.unpack_from(">QI", body)
            if number == MESSAGE_LANE:
                self._messages.balance += credit
            elif number == REQUEST_LANE:
                self._asking.balance += credit
            elif number in self._requests:
                self._requests[number].balance += credit
        elif kind in (REQUEST, REPLY, FAILURE, CANCEL, ITEM):
            (number,) = struct.unpack_from(">Q", body)
            self._receive_numbered(kind, number, body[8:])
        # Pongs, extensions and what is not meant for a child are skipped.

    def _receive_numbered(self, kind, number, payload):
        request, answer = self._requests.get(number), self._answers.get(number)
        if kind == REQUEST:
            unusable = number in (0, REQUEST_LANE) or request
            if unusable or self.stopping:
                self._request_taken(payload)
                if not unusable:
                    self._fail(number, "stopping")
                return
            request = self._requests[number] = Request(self, number, payload)
            if self._handler:
                request.turn = self._handlers.submit(self._handle, request)
            else:
                self._early.append(request)
        elif kind == CANCEL and request:
            request.cancelled = True
            if request.turn and request.turn.cancel():  # it had not begun, and need not
                self._request_taken(request.payload)
                self._fail(number, str(Cancelled()))
        elif kind == ITEM and answer:
            answer.items.append(payload)
        elif kind == REPLY and answer:
            answer.end = (payload, None)
            del self._answers[number]
        elif kind == FAILURE and answer:
            answer.end = (None, Failed(payload.decode("utf-8", "replace")))
            del self._answers[number]

    def _request_taken(self, payload):
        granted = self._request_window.consumed(len(payload))
        if granted:
            self._grant(REQUEST_LANE, granted)

    def _handle(self, request):
        with self._changed:
            self._request_taken(request.payload)
        try:
            if request.cancelled:
                raise Cancelled
            reply = self._handler(request)
            self._check(reply)
            with self._changed:
                self._push(REPLY, struct.pack(">Q", request.number) + reply)
                self._requests.pop(request.number, None)
        except BaseException as error:  # whatever it is, the request must end
            with self._changed:
                self._fail(request.number, str(error) if error.args else type(error).__name__)

    def _stop(self):
        if self.stopping:
            return
        self.stopping = True
        for callback in self._stop_callbacks:
            self._start(callback)
        self._changed.notify_all()

    def _end(self, error):
        """Nothing more comes in: no credit, no answer, and nobody to cancel a request."""
        if self.ended:
            return
        self.ended = True
        self.error = error
        if error:
            print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr, flush=True)
        self._stop()
        for request in self._requests.values():
            request.cancelled = True
        for answer in self._answers.values():
            answer.end = (None, ParentGone("the parent is gone"))
        self._answers.clear()
        self._changed.notify_all()

    def _watch_lease(self):
        while True:
            left = self._heard + self.lease - time.monotonic()
            if left <= 0:
                print("the parent is silent, its lease is over", file=sys.stderr, flush=True)
                os._exit(1)
            time.sleep(min(left, 3600))

    def _start(self, target):
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread

    # The environment, read as strictly as the protocol says.

    def _read_environment(self, environment):
        def required(name):
            if name not in environment:
                raise Refused(f"{name} is not set: start me from a Procession parent")
            return environment[name]

        def absolute(name):
            if not os.path.isabs(required(name)):
                raise Refused(f"{name} is {environment[name]!r}, which is no absolute path")
            return environment[name]

        def number(name, least, most):
            text = required(name)
            if re.fullmatch("[0-9]{1,100}", text) and least <= int(text) <= most:
                return int(text)
            raise Refused(f"{name} is {text!r}, which is no number from {least} to {most}")

        def channel(name, stdio, pipe):
            word = required(name)
            if word == "pipe":
                return absolute(pipe)
            if word == stdio:
                return None
            raise Refused(f"{name} is {word!r}, and this child needs {stdio!r} or 'pipe'")

        self.data_dir = absolute("PROCESS_DATA_DIR")
        if required("MESSAGE_FRAMING") != "frames/1":
            framing = environment["MESSAGE_FRAMING"]
            raise Refused(f"MESSAGE_FRAMING is {framing!r}, and this child speaks 'frames/1'")
        self.limit = number("MESSAGE_LIMIT", 0, MAX_LIMIT)
        input_path = channel("MESSAGE_INPUT", "stdin", "INPUT_PIPE")
        output_path = channel("MESSAGE_OUTPUT", "stdout", "OUTPUT_PIPE")
        self.lease = None
        if "MESSAGE_LEASE" in environment:
            self.lease = number("MESSAGE_LEASE", 1, 2**64 - 1) / 1000
        return input_path, output_path


def open_channel(input_path, output_path):
    """The descriptors to read and to write; None stands for standard input and output.

    They are close-on-exec. The standard streams then are free for whatever the program does with
    them: input is empty, and a stray print() is a line of the log, not a broken frame.
    """
    if input_path is None:
        read_end = os.dup(0)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
    else:
        read_end = os.open(input_path, os.O_RDONLY)
    if output_path is None:
        write_end = os.dup(1)
        os.dup2(2, 1)
    else:
        write_end = os.open(output_path, os.O_WRONLY)
    return read_end, write_end


# Here ends what is to be copied.


def answer(request):
    """A request is a verb, and for some a space and an argument."""
    parent = request.parent
    verb, _, argument = request.payload.partition(b" ")
    if verb == b"echo":
        return argument
    if verb == b"items":
        for number in range(int(argument)):
            request.item(b"%d" % number)
        return b"done"
    if verb == b"fail":
        raise RuntimeError(argument.decode("utf-8", "replace"))
    if verb == b"panic":
        raise ZeroDivisionError("the handler panicked")
    if verb == b"wait":
        request.wait()
    if verb == b"hold":
        request.wait(lambda: parent.stopping)
        return b"stopped"
    if verb == b"ask":
        return parent.request(argument).reply()
    if verb == b"collect":
        return b"\n".join(parent.request(argument))
    if verb == b"forget":
        parent.request(argument).cancel()
        return b"forgotten"
    raise ValueError(f"there is no verb {verb.decode('utf-8', 'replace')!r}")


def main():
    try:
        parent = Parent()
    except (Refused, OSError) as error:
        sys.exit(f"worker.py: {error}")
    parent.on_stop(lambda: print("asked to stop"))  # to the log
    parent.serve(answer)
    parent.ready("at work")
    try:
        for message in parent.messages():
            parent.send(message)
    except ParentGone:
        pass
    sys.exit(parent.finish())


if __name__ == "__main__":
    main()
