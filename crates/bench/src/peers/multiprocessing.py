"""Python's own way to have a child: `multiprocessing`, a Process and a Pipe.

    python3 multiprocessing.py JOB COUNT SIZE

Does the job with a child process, a tenth of it beforehand to warm up, checks what came of it, and prints
"COUNT SECONDS". Bytes go by `send_bytes`; a request is an object by `send`, which is the typed way here. The child
ends with its pipe, and both by a deadline.
"""

import sys

# The folder of this file comes first in the path, and this file has the name of the module.
sys.path.pop(0)

import multiprocessing
import signal
import time

DEADLINE = 60


# The child's side of each job.


def echo(pipe):
    while True:
        pipe.send_bytes(pipe.recv_bytes())


def answer(pipe):
    while True:
        pipe.send(sum(pipe.recv()))


def flood(pipe):
    while True:
        count, size = pipe.recv()
        message = b"x" * size
        for _ in range(count):
            pipe.send_bytes(message)


def drain(pipe):
    while True:
        count = pipe.recv()
        pipe.send(sum(len(pipe.recv_bytes()) for _ in range(count)))


# The parent's side: each does so much and fails when something is lost, doubled or changed.


def check(holds, what):
    if not holds:
        sys.exit(what)


def round_trips(pipe, count, size):
    for at in range(count):
        message = bytes([at % 256]) * size
        pipe.send_bytes(message)
        check(pipe.recv_bytes() == message, "an echo is not what was sent")


def requests(pipe, count, size):
    for at in range(count):
        numbers = [1.5] * size
        numbers[0] = float(at)
        pipe.send(numbers)
        check(pipe.recv() == at + 1.5 * (size - 1), "a sum is wrong")


def flood_in(pipe, count, size):
    pipe.send((count, size))
    for _ in range(count):
        check(len(pipe.recv_bytes()) == size, "a message is not what was ordered")
    # A message too many would come before this one.
    pipe.send((1, size + 1))
    check(len(pipe.recv_bytes()) == size + 1, "more came than was ordered")


def flood_out(pipe, count, size):
    message = b"x" * size
    pipe.send(count)
    for _ in range(count):
        pipe.send_bytes(message)
    check(pipe.recv() == count * size, "the child did not receive what was sent")


JOBS = {
    "round-trip": (echo, round_trips),
    "request": (answer, requests),
    "flood-in": (flood, flood_in),
    "flood-out": (drain, flood_out),
}


def child(job, pipe, parents_end):
    """Does the job until the parent's end is closed: its copy here must not keep it open."""
    signal.alarm(DEADLINE)
    parents_end.close()
    try:
        JOBS[job][0](pipe)
    except (EOFError, ConnectionError):
        pass


def main(job, count, size):
    signal.alarm(DEADLINE)
    pipe, childs_end = multiprocessing.Pipe()
    # Should this program fail, the child is ended and not waited for.
    process = multiprocessing.Process(target=child, args=(job, childs_end, pipe), daemon=True)
    process.start()
    childs_end.close()
    work = JOBS[job][1]
    work(pipe, -(-count // 10), size)
    started = time.perf_counter()
    work(pipe, count, size)
    seconds = time.perf_counter() - started
    pipe.close()
    process.join()
    print(count, seconds)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
