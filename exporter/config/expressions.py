"""Regular expressions that people write: refused where one label could keep the search busy for ever.

Python tries the ways in which an expression may match one after the other, and nothing else runs
meanwhile. `(a+)+$` has more of them for 255 letters than there is time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from re import _parser  # type: ignore[attr-defined]  # re has no other door to an expression's parts
from typing import Any

# Labels are names: of collections and peers, 255 characters at the most.
LONGEST_LABEL = 255
# Three open-ended repeats in a row: measured, all their ways that fail take 4 ms, and those of four
# 0.15 s, for every series or alert that is asked.
MOST_WAYS = float((LONGEST_LABEL + 1) ** 3)


def check_expression(pattern: str) -> None:
    """Refuse what is no regular expression, or may take too long, by a ValueError that says what to write."""
    try:
        re.compile(pattern)
        ways = _ways(_parser.parse(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"this is not a regular expression: {error}") from None
    if ways > MOST_WAYS:
        raise ValueError(
            "this could take for ever on a long name: repeat nothing that repeats itself or has a choice"
            " in it, as in (a+)+ or (a|ab)*, and write .* three times at the most"
        )


def _ways(parts: Iterable[tuple[Any, Any]]) -> float:
    """Return a bound of how many ways there are to match a label; infinity where it has no use."""
    ways = 1.0
    for name, argument in parts:
        ways *= _ways_of(str(name), argument)
    return ways


def _ways_of(name: str, argument: Any) -> float:
    match name:
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = argument
            return _ways_to_repeat(_ways(inner), int(least), min(int(most), LONGEST_LABEL))
        case "SUBPATTERN":
            return _ways(argument[-1])
        case "ATOMIC_GROUP":
            return _ways(argument)
        case "ASSERT" | "ASSERT_NOT":
            return _ways(argument[1])
        case "BRANCH":
            return _ways_to_choose(argument[1])
        case "GROUPREF_EXISTS":
            return sum(_ways(inner) for inner in argument[1:] if inner is not None)
    return 1.0  # one character, or a place


def _ways_to_repeat(inner: float, least: int, most: int) -> float:
    if inner == 1:
        return float(max(1, most - least + 1))
    try:
        return math.fsum(inner**times for times in range(least, max(least, most) + 1))
    except OverflowError:
        return math.inf


def _ways_to_choose(branches: Iterable[Any]) -> float:
    """Return the ways of a choice: of one alternative, where the first character says which it is."""
    found = [(_first_letter(branch), _ways(branch)) for branch in branches]
    letters = [letter for letter, _ in found]
    if None not in letters and len(set(letters)) == len(letters):
        return max(ways for _, ways in found)
    return math.fsum(ways for _, ways in found)


def _first_letter(branch: Any) -> int | None:
    """Return the character that a part begins with; None where there may be several."""
    for name, argument in branch:
        return int(argument) if str(name) == "LITERAL" else None
    return None
