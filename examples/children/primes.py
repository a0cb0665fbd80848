"""A worker for a pool: counts primes. It uses the `Parent` of `worker.py`, which lies beside it.

A request is `FROM TO`; the reply is how many primes there are from the one up to the other, without that.
"""

import sys

from worker import Parent, ParentGone


def count_primes(request):
    first, end = map(int, request.payload.split())
    sieve = bytearray([1]) * (end - first)
    for factor in range(2, int(end**0.5) + 1):
        start = max(factor * factor, -(-first // factor) * factor)
        sieve[start - first :: factor] = bytes(len(range(start, end, factor)))
    small = sum(sieve[: max(0, 2 - first)])  # 0 and 1 are none
    return b"%d" % (sum(sieve) - small)


def main():
    parent = Parent()
    parent.serve(count_primes)
    parent.ready("counting")
    try:
        for _ in parent.messages():
            pass
    except ParentGone:
        pass
    sys.exit(parent.finish())


if __name__ == "__main__":
    main()
