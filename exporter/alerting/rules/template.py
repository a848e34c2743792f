"""Annotations as templates: fields in braces, each a plain name. Checked at load, rendered per alert.

Nothing can be computed in them: no attribute, no index, no format. `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import quote

from exporter.alerting.spoken import duration, moment, quantity
from exporter.alerting.words import LabelPairs, Rule

# Beside every label of the alert. `eta` is for rules on a moment: how long until it. `backup` is a clause
# that names the newest good backup of the alert's collection, `restore` the command that restores it.
OF_BACKUPS = ("backup", "restore")
FIELDS = ("value", "threshold", "since", "eta", "changed", "url", *OF_BACKUPS)
# Of those, what only this daemon knows.
OURS_ALONE = ("since", "changed", *OF_BACKUPS)
NO_BACKUP = "no good backup is known here"

# The annotation that people paste into a shell.
ACTION = "action"

_TOKENS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_CLAUSES = re.compile(r"[,;:.(]?[^,;:.()\n]*[)\n]?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Part(NamedTuple):
    """A piece of a template: text to be said as it is, or the name of a field."""

    text: str
    is_field: bool


class Facts(NamedTuple):
    """What the annotations of one alert are filled with."""

    labels: LabelPairs  # with alertname, severity and the rule's own
    value: float | None
    limit: float | None
    unit: str
    since: float  # Unix seconds: the first evaluation that was true
    changes: tuple[str, ...] = ()
    url: str = ""  # base URL of the labelled peer, else of one of the cluster
    backup: str = NO_BACKUP  # a clause about the newest good backup
    restore: str = ""  # the command that restores it, quoted for a shell; "" without one


def parse(template: str) -> Iterator[Part]:
    """Yield the pieces of a template. Raises ValueError saying what to write."""
    position = 0
    for token in _TOKENS.finditer(template):
        if token.start() > position:
            yield Part(template[position : token.start()], False)
        position = token.end()
        if token[0] in ("{{", "}}"):
            yield Part(token[0][0], False)
        elif token[1] is None:
            raise ValueError("a brace has no partner; write {{ or }} for a brace that is text")
        elif not _NAME.fullmatch(token[1]):
            raise ValueError(
                "a field is a plain name such as {value}; write {{ and }} for braces that are text"
            )
        else:
            yield Part(token[1], True)
    if position < len(template):
        yield Part(template[position:], False)


def check(template: str, labels: Collection[str], *, has_eta: bool) -> None:
    """Refuse a field that such an alert does not have, by a ValueError that names those it has."""
    absent = {*(() if has_eta else ("eta",)), *(() if "collection" in labels else OF_BACKUPS)}
    known = [field for field in (*FIELDS, *labels) if field not in absent]
    for part in parse(template):
        if part.is_field and part.text not in known:
            if part.text == "eta":
                raise ValueError("{eta} is the time until a moment; only a rule with reduce: until has it")
            near = get_close_matches(part.text, known, n=1)
            advice = f"did you mean {{{near[0]}}}?" if near else f"known here: {', '.join(known)}"
            raise ValueError(f"there is no field {{{part.text}}}; {advice}")


def fill(template: str, fields: Mapping[str, str], *, escape: Callable[[str], str] = str) -> str:
    """Return the template with its fields filled in; what is not known is left empty.

    `escape` changes the text between the fields, for a reader to whom some of it means something.
    """
    return "".join(
        fields.get(part.text, "") if part.is_field else escape(part.text) for part in _joined(parse(template))
    )


def without(template: str, fields: Collection[str]) -> str:
    """Return the template without the clauses that need one of these fields.

    A clause ends at a comma, semicolon, colon, full stop, bracket or the end of a line.
    """
    unwanted = [f"{{{field}}}" for field in fields]
    if not any(field in template for field in unwanted):
        return template
    clauses = _CLAUSES.findall(template)
    kept = [clause for clause in clauses if not any(field in clause for field in unwanted)]
    return "".join(kept).strip(" ,;:(\n")


def annotations_of(rule: Rule, facts: Facts) -> tuple[tuple[str, str], ...]:
    """Return the rule's annotations, rendered for one alert."""
    fields = {
        "value": said(facts.value, facts.unit),
        "threshold": said(facts.limit, facts.unit),
        "since": moment(facts.since),
        "eta": "unknown" if facts.value is None else duration(facts.value),
        "changed": "; ".join(facts.changes) or "nothing known",
        "url": facts.url,
        "backup": facts.backup,
        "restore": facts.restore,
        **dict(facts.labels),
    }
    return tuple(
        (name, _command(template, fields) if name == ACTION else fill(template, fields))
        for name, template in rule.annotations
    )


def _command(template: str, fields: Mapping[str, str]) -> str:
    """Fill in a command so that no label can run anything in the shell that it is pasted into.

    Within a URL a label is percent-encoded, elsewhere it is quoted.
    """
    text = ""
    for part in parse(template):
        value = fields.get(part.text, "")
        if not part.is_field:
            text += part.text
        elif part.text in FIELDS:
            text += value
        else:
            in_url = "/" in text.split(" ")[-1]
            text += quote(value, safe="") if in_url else shlex.quote(value)
    return text


def said(value: float | None, unit: str) -> str:
    """Return a number with its unit; "unknown" where there is none."""
    return "unknown" if value is None else quantity(value, unit)


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield the parts with text that follows text as one: two braces together may mean something."""
    text = ""
    for part in parts:
        if not part.is_field:
            text += part.text
            continue
        if text:
            yield Part(text, False)
            text = ""
        yield part
    if text:
        yield Part(text, False)
