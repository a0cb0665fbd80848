#!/usr/bin/env python3
"""worker.py with one fault, which the argument names: each shows that a check can fail."""

import concurrent.futures
import importlib.util
import os
import struct
import sys

CHILDREN = os.path.join(os.path.dirname(__file__), "../../../examples/children")
spec = importlib.util.spec_from_file_location("worker", os.path.join(CHILDREN, "worker.py"))
sys.dont_write_bytecode = True
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
Parent = worker.Parent

push = Parent._push
FAULTS = {}


def fault(function):
    FAULTS[function.__name__.replace("_", "-")] = function


def pushing(change):
    """A fault in what is sent: `change(parent, kind, body)` sends in place of what is right."""
    Parent._push = change


def raw(parent, data):
    """Bytes that are no frame."""
    with parent._changed:
        parent._outbox.append(data)
        parent._changed.notify_all()


# Hello.


@fault
def wrong_version():
    def change(parent, kind, body):
        if kind == worker.HELLO:
            body = body[:10] + b"\x02\x00" + body[12:]
        push(parent, kind, body)

    pushing(change)


@fault
def no_credit_feature():
    def change(parent, kind, body):
        if kind == worker.HELLO:
            body = body[:12] + bytes(4) + body[16:]
        push(parent, kind, body)

    pushing(change)


@fault
def no_hello():
    pushing(lambda parent, kind, body: None)


@fault
def late_hello():
    def change(parent, kind, body):
        if kind == worker.HELLO:
            push(parent, worker.READY, b"early")
        push(parent, kind, body)

    pushing(change)


@fault
def any_version():
    os.environ["MESSAGE_FRAMING"] = "frames/1"


@fault
def any_limit():
    os.environ["MESSAGE_LIMIT"] = "1024"


# Frames.


@fault
def cut_frame():
    def change(parent, kind, body):
        if kind != worker.MESSAGE:
            return push(parent, kind, body)
        with parent._changed:
            raw(parent, struct.pack(">IB", len(body) + 10, kind) + body)
            parent._finished = True

        def die():
            parent._writer.join()
            os._exit(1)

        parent._start(die)

    pushing(change)


@fault
def stray_output():
    def change(parent, kind, body):
        if kind == worker.MESSAGE:
            raw(parent, b"debug: here comes a message\n")
        push(parent, kind, body)

    pushing(change)


@fault
def over_limit():
    Parent._check = lambda parent, payload: None


@fault
def believes_anything():
    worker.FIXED_FIELDS[0x55] = 0


@fault
def chokes_on_extensions():
    receive = Parent._receive

    def change(parent, kind, body):
        if kind >= worker.EXTENSIONS:
            parent._end("an extension")
        receive(parent, kind, body)

    Parent._receive = change


# Credit.


@fault
def ignores_credit():
    Parent._wait_for_credit = lambda parent, lane: None


@fault
def grants_once():
    granted = set()
    grant = Parent._grant

    def change(parent, lane, credit):
        if lane not in granted:
            granted.add(lane)
            grant(parent, lane, credit)

    Parent._grant = change


@fault
def grants_too_much():
    grant = Parent._grant
    Parent._grant = lambda parent, lane, credit: grant(parent, lane, 2 * credit)


@fault
def grants_before_it_consumes():
    receive = Parent._receive

    def change(parent, kind, body):
        if kind == worker.MESSAGE:
            parent._grant(worker.MESSAGE_LANE, len(body) + worker.OVERHEAD)
        receive(parent, kind, body)

    Parent._receive = change
    worker.Window.consumed = lambda window, size: 0


@fault
def ends_without_credit():
    balance = 0
    grant, receive = Parent._grant, Parent._receive

    def granting(parent, lane, credit):
        nonlocal balance
        if lane == worker.MESSAGE_LANE:
            balance += credit
        grant(parent, lane, credit)

    def change(parent, kind, body):
        nonlocal balance
        if kind == worker.MESSAGE:
            if balance <= 0:
                os._exit(1)
            balance -= len(body) + worker.OVERHEAD
        receive(parent, kind, body)

    Parent._grant, Parent._receive = granting, change


@fault
def reads_only_when_it_can_write():
    receive = Parent._receive

    def change(parent, kind, body):
        parent._changed.wait_for(lambda: parent._outbox_bytes < worker.OUTBOX)
        receive(parent, kind, body)

    Parent._receive = change


# Requests.


@fault
def unknown_reply():
    def change(parent, kind, body):
        if kind == worker.REPLY:
            push(parent, kind, struct.pack(">Q", 10**12))
        push(parent, kind, body)

    pushing(change)


@fault
def two_replies():
    def change(parent, kind, body):
        push(parent, kind, body)
        if kind == worker.REPLY:
            push(parent, kind, body)

    pushing(change)


@fault
def late_item():
    def change(parent, kind, body):
        push(parent, kind, body)
        if kind == worker.REPLY:
            push(parent, worker.ITEM, body)

    pushing(change)


@fault
def drops_cancelled():
    def change(parent, kind, body):
        if kind != worker.FAILURE or not body.endswith(b"cancelled"):
            push(parent, kind, body)

    pushing(change)


@fault
def cancels_in_turn():
    concurrent.futures.Future.cancel = lambda turn: False


@fault
def one_at_a_time():
    worker.HANDLERS = 1


@fault
def same_ids():
    request = Parent.request

    def change(parent, payload):
        parent._next_number = 1
        return request(parent, payload)

    Parent.request = change


@fault
def dies_of_a_panic():
    def answer(request):
        if request.payload == b"panic":
            os._exit(3)
        return worker_answer(request)

    worker_answer, worker.answer = worker.answer, answer


# Life.


@fault
def no_pong_while_busy():
    def change(parent, kind, body):
        if kind != worker.PONG or not parent._requests:
            push(parent, kind, body)

    pushing(change)


@fault
def no_bye():
    def change(parent, kind, body):
        if kind != worker.BYE:
            push(parent, kind, body)

    pushing(change)


@fault
def ignores_stop():
    stop = Parent._stop

    def change(parent):
        if parent.ended:
            stop(parent)

    Parent._stop = change


@fault
def ignores_the_end():
    Parent._end = lambda parent, error: None


@fault
def ignores_the_lease():
    Parent._watch_lease = lambda parent: None


FAULTS[sys.argv[1]]()
worker.main()
