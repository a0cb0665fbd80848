"""Python's own pool, `concurrent.futures.ProcessPoolExecutor`, and loky's, which has the same interface.

    python3 executor.py work COUNT MICROSECONDS concurrent.futures|loky

Has two workers do so many calls, each of which uses a processor for that long, a tenth of it beforehand to warm up,
checks what came of it, and prints "COUNT SECONDS". One call is one message: `chunksize` is 1, as the pools that it is
compared with know nothing of calls to come.
"""

import signal
import sys
import time

DEADLINE = 60
NO_MODULE = 77
WORKERS = 2


def use_processor(microseconds):
    until = time.thread_time() + microseconds / 1e6
    while microseconds and time.thread_time() < until:
        pass
    return microseconds


def run(pool, count, microseconds):
    done = 0
    for result in pool.map(use_processor, [microseconds] * count, chunksize=1):
        if result != microseconds:
            sys.exit("a result is wrong")
        done += 1
    if done != count:
        sys.exit("a result is missing")


def main(count, microseconds, module):
    signal.alarm(DEADLINE)
    if module == "loky":
        try:
            import loky
        except ImportError:
            print("loky is not here", file=sys.stderr)
            sys.exit(NO_MODULE)
        pool = loky.ProcessPoolExecutor(max_workers=WORKERS)
    else:
        import concurrent.futures

        pool = concurrent.futures.ProcessPoolExecutor(max_workers=WORKERS)
    with pool:
        run(pool, max(WORKERS, -(-count // 10)), microseconds)
        started = time.perf_counter()
        run(pool, count, microseconds)
        seconds = time.perf_counter() - started
    print(count, seconds)


if __name__ == "__main__":
    main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
