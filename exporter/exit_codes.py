"""What the verbs end with. Anything but 0 is no success."""

from __future__ import annotations

DONE = 0
FAILED = 1
BAD_CONFIGURATION = 2  # or a state directory that cannot be used
PARTLY = 3  # or there was nothing to do
REFUSED = 4  # nothing was begun: it would have done harm
NOTHING_FOUND = 10  # neither such a backup nor such a store; 10 and 11 as in restic
LOCKED = 11
INTERRUPTED = 130  # by Ctrl-C; these two as every shell says it
TERMINATED = 143  # by SIGTERM
