"""`${VARIABLE}` inside texts of the configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with each ${NAME} and ${NAME:-default} replaced; $${ stands for ${.

    The default is used where the variable is unset or empty. Raises ValueError naming an
    unset variable without a default; what variables hold is never in a message.
    """

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        parts = _NAME.fullmatch(match[1] or "")
        if parts is None:
            raise ValueError("write ${NAME} or ${NAME:-default} for a variable, and $${ for the text ${")
        name, default = parts[1], parts[2]
        if default is not None:
            return environment.get(name) or default
        if name not in environment:
            raise ValueError(
                f"the environment variable {name} is not set; set it or write ${{{name}:-default}}"
            )
        return environment[name]

    return _REFERENCE.sub(replacement, text)
