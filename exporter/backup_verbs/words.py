"""How the verbs of backups and jobs show what they found."""

from __future__ import annotations

from enum import StrEnum


class Output(StrEnum):
    """What a verb prints on stdout."""

    TABLE = "table"
    JSON = "json"
