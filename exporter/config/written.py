"""How a value came to the models: written by a person, or given by our own code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """Validation context of what a person wrote.

    Durations and sizes then need their unit, files must exist, and relative paths start at
    `directory`: that of the configuration file. Settings built by code need none of it.
    """

    directory: Path
