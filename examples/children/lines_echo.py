#!/usr/bin/env python3
"""A child in Python with no library: a line in, the same line out.

The parent's messages come on standard input, one a line, and every line that
is written to standard output is a message to the parent. The one thing to
remember is to flush: Python keeps output back when it is not a terminal.
"""

import sys

for line in sys.stdin.buffer:  # bytes, so that nothing is decoded or changed
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()

# The loop ends when the parent closes our input or is gone: nothing else to do.
