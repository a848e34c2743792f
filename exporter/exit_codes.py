"""What the verbs end with. Anything but 0 is a failure; 130 is an interrupt, as in every shell."""

from __future__ import annotations

DONE = 0
FAILED = 1
BAD_CONFIGURATION = 2  # or a state directory that cannot be used
PARTLY = 3
REFUSED = 4  # nothing was begun: it would have done harm
NOTHING_FOUND = 10  # 10 and 11 as in restic
LOCKED = 11
