#!/usr/bin/env python3
"""A child in Python with no library that speaks frames: each message goes back as it came.

A frame is `length u32, kind u8, body`, all integers big-endian, where length counts the
body alone. Frames carry any bytes and can say more than a message: who we are (hello),
how much the other side may send (credit), please finish (stop), nothing follows (bye).
The parent tells by environment variables where its frames come in and where ours go.
"""

import collections
import os
import struct
import sys

MESSAGE, REQUEST, REPLY, FAILURE, CANCEL, ITEM, CREDIT = range(7)
HELLO, READY, STOP, PING, PONG, BYE = range(0x10, 0x16)
EXTENSIONS = 0x80  # kinds from here on may be skipped
# What precedes the payload in the body, in bytes; the limit is on the payload alone.
FIXED_FIELDS = {
    REQUEST: 8, REPLY: 8, FAILURE: 8, CANCEL: 8, ITEM: 8, CREDIT: 12,
    HELLO: 20, PING: 8, PONG: 8, BYE: 4,
}

MESSAGE_LANE = 0
REQUEST_LANE = 2**64 - 1
OVERHEAD = 64  # credit that a message costs on top of its payload
WINDOW = 1 << 20  # bytes that the parent may send before we have taken any

LIMIT = int(os.environ.get("MESSAGE_LIMIT", 16 << 20))


class Parent:
    """The two ends of the conversation, with credit counted in both directions."""

    def __init__(self):
        if os.environ.get("MESSAGE_FRAMING") != "frames/1":
            sys.exit("frames_echo.py: MESSAGE_FRAMING is not frames/1: start me from a Procession parent")
        self.input = open_input()
        self.output = open_output()
        self.inbox = collections.deque()  # received, not yet taken by receive()
        self.balance = 0  # what we may still send on the message lane
        self.taken = 0  # what receive() has taken and we have not given back yet
        self.stopping = False
        self.ended = False
        # Hello is our first frame: version 1.0, feature bit 0 (credit), and who we are.
        self.write(HELLO, b"procession" + struct.pack(">HII", 0x0100, 1, os.getpid()))
        self.grant(MESSAGE_LANE, WINDOW)
        self.grant(REQUEST_LANE, WINDOW)

    def receive(self):
        """The next message, or None when the parent asks us to stop or has ended our input."""
        while not self.inbox and not self.stopping and not self.ended:
            self.read_frame()
        if not self.inbox:
            return None
        message = self.inbox.popleft()
        self.taken += len(message) + OVERHEAD
        if self.taken >= WINDOW // 4:  # give credit back in portions, not a frame for each message
            self.grant(MESSAGE_LANE, self.taken)
            self.taken = 0
        return message

    def send(self, message):
        """Sends as soon as there is credit. What arrives meanwhile is kept for receive()."""
        if len(message) > LIMIT:
            raise ValueError(f"a message of {len(message)} bytes is over the limit of {LIMIT}")
        while self.balance <= 0 and not self.ended:  # no credit can come after the end of input
            self.read_frame()
        self.balance -= len(message) + OVERHEAD  # the last one may overshoot
        self.write(MESSAGE, message)

    def finish(self, status):
        """Says that nothing follows, and what our exit status will be."""
        self.write(BYE, struct.pack(">i", status))

    def grant(self, lane, credit):
        self.write(CREDIT, struct.pack(">QI", lane, credit))

    def write(self, kind, body):
        self.output.write(struct.pack(">IB", len(body), kind) + body)
        self.output.flush()

    def read_frame(self):
        header = self.input.read(5)
        if not header:
            self.ended = True
            return
        if len(header) < 5:
            lost("a frame was cut off")
        length, kind = struct.unpack(">IB", header)
        fixed = FIXED_FIELDS.get(kind, 0)
        if length > fixed + (1004 if kind == HELLO else LIMIT):
            lost(f"a frame of {length} bytes is over the limit")
        if length < fixed:
            lost(f"{length} bytes are too few for a frame of kind {kind:#04x}")
        body = self.input.read(length)
        if len(body) < length:
            lost("a frame was cut off")

        if kind == MESSAGE:
            self.inbox.append(body)
        elif kind == CREDIT:
            lane, credit = struct.unpack_from(">QI", body)
            if lane == MESSAGE_LANE:
                self.balance += credit
        elif kind == PING:
            self.write(PONG, body[:8])
        elif kind == STOP:
            self.stopping = True
        elif kind == REQUEST:  # every request ends in a reply or a failure
            self.write(FAILURE, body[:8] + b"frames_echo.py answers no requests")
            self.grant(REQUEST_LANE, length - 8 + OVERHEAD)
        elif kind in FIXED_FIELDS or kind == READY or kind >= EXTENSIONS:
            pass  # answers to what we never asked, and what only a child says
        else:
            lost(f"frames of kind {kind:#04x} are unknown")


def open_input():
    where = os.environ.get("MESSAGE_INPUT")
    if where == "stdin":
        return os.fdopen(os.dup(0), "rb")
    if where == "pipe":
        return open(os.environ["INPUT_PIPE"], "rb")
    sys.exit(f"frames_echo.py: MESSAGE_INPUT is {where!r}: an echo needs stdin or pipe")


def open_output():
    where = os.environ.get("MESSAGE_OUTPUT")
    if where == "stdout":
        output = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # a stray print() becomes a line of the log, not a broken frame
        return output
    if where == "pipe":
        return open(os.environ["OUTPUT_PIPE"], "wb")
    sys.exit(f"frames_echo.py: MESSAGE_OUTPUT is {where!r}: an echo needs stdout or pipe")


def lost(why):
    """Once framing is lost nothing that follows can be believed."""
    sys.exit(f"frames_echo.py: {why}")


parent = Parent()
while (message := parent.receive()) is not None:
    parent.send(message)
parent.finish(0)
