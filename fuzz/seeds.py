"""Writes the vectors of docs/protocol.md as seeds: seeds.py DIRECTORY."""

import hashlib
import pathlib
import re
import sys

WHOLE = 0  # In one piece.
NO_HELLO = 255
LIMIT = 255
# Of the target `child`: the bits of its `Plan`.
LINES, GREETS, READS, EXITS, DROPS, ITEMS, FAILS, CLOSES = (1 << bit for bit in range(8))
NOTIFICATIONS = [
    b"READY=1\nSTATUS=serving\n",
    b"STOPPING=1\n",
    b"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=5000000\n",
    b"WATCHDOG=trigger\n",
    b"PROCESSION_TREE=m1/p1.0:\n",
]


def vectors(text, table):
    """Each vector of a table, as a list of keys and values."""
    for block in re.findall(rf"^```vectors {table}\n(.*?)^```", text, re.M | re.S):
        for vector in block.strip().split("\n\n"):
            yield [line.partition(":")[::2] for line in vector.splitlines()]


def of(vector, key, default=None):
    return next((value.strip() for name, value in vector if name == key), default)


def main():
    directory = pathlib.Path(sys.argv[1])
    protocol = pathlib.Path(__file__).parent.parent / "docs" / "protocol.md"
    text = protocol.read_text(encoding="utf-8")

    def seed(target, head, body):
        path = directory / target
        path.mkdir(parents=True, exist_ok=True)
        data = bytes(head) + body
        (path / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)

    def child(modes, body):
        for mode in modes:
            for piece in (WHOLE, 1, 7):
                seed("child", (mode, LIMIT, piece), body)

    for vector in vectors(text, "frames"):
        stream = bytes.fromhex(of(vector, "hex"))
        limit = min(int(of(vector, "limit", LIMIT)), LIMIT)
        hello = min(int(of(vector, "hello", NO_HELLO)), NO_HELLO)
        seed("frames", (limit, hello, WHOLE), stream)
        child((GREETS | READS, EXITS), stream)
    for vector in vectors(text, "lines"):
        stream = bytes.fromhex(of(vector, "hex"))
        seed("lines", (min(int(of(vector, "limit", LIMIT)), LIMIT), WHOLE), stream)
        child((LINES | EXITS, LINES | DROPS), stream)
    for vector in vectors(text, "conversation"):
        said = b"".join(bytes.fromhex(value) for name, value in vector if name == "child")
        child((READS, READS | ITEMS | EXITS, READS | FAILS | CLOSES), said)
    for vector in vectors(text, "environment"):
        lines = [value.strip() for name, value in vector if name == "set"]
        seed("texts", (), "\n".join(lines).encode())
    for notification in NOTIFICATIONS:
        seed("texts", (), notification)


main()
