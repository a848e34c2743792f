"""The shape of a file of alert rules, as a person writes it.

What the words mean, and which of them go together, is in `exporter.alerting.rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from exporter.config.alerting import InhibitSettings, RuleOverride
from exporter.config.alerting_fields import RuleLabelName, RuleName, Severity
from exporter.config.fields import Count, Seconds, Section, Text, within
from exporter.config.problems import KeyPath, explained
from exporter.config.quantities import format_duration
from exporter.config.written import Written

Shape = TypeVar("Shape", bound=Section)

_DAY = 86_400.0

OperatorWord = Literal[">", ">=", "<", "<=", "==", "!="]
ReduceWord = Literal["last", "min", "max", "avg", "increase", "changes", "ratio_to_max", "age", "until"]


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):  # pydantic would read "10" and yes as numbers
        raise ValueError("write a plain number, for example 0.8 or 10000")  # noqa: TRY004  # as pydantic wants
    return value


def _text_or_list(value: Any) -> Any:
    if isinstance(value, str):
        return {"equal": (value,)}
    if isinstance(value, list | tuple):
        return {"equal": value}
    if isinstance(value, bool | int | float):
        raise ValueError("write text here; put quotes around a number, a date or yes and no")  # noqa: TRY004
    return value


def _word_alone(value: Any) -> Any:
    return {"fn": value} if isinstance(value, str) else value


def _filled_list(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("the list is empty; write one or more labels or values, or leave the key out")
    return values


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Names = Annotated[tuple[Text, ...], AfterValidator(_filled_list)]


class MatchWritten(Section):
    """Which values of one label: exactly one of the keys. A text alone is `equal`, a list one of many."""

    equal: Annotated[tuple[str, ...], AfterValidator(_filled_list)] | None = None
    regex: Text | None = None
    not_: str | None = Field(default=None, validation_alias="not", serialization_alias="not")
    not_regex: Text | None = None

    @model_validator(mode="after")
    def _one_way(self) -> MatchWritten:
        written = [self.equal, self.regex, self.not_, self.not_regex]
        if sum(value is not None for value in written) != 1:
            raise ValueError("write a text, a list of texts, or one of regex, not and not_regex")
        return self


class ReduceWritten(Section):
    """How the samples of a series become one value. A word alone is `fn`."""

    fn: ReduceWord = "last"
    over_seconds: (
        Annotated[
            Seconds,
            within(30, _DAY, show=format_duration, reason="the samples of the window are held in memory"),
        ]
        | None
    ) = Field(default=None, validation_alias="over", serialization_alias="over")
    min_samples: Annotated[Count, within(1, 10_000, reason="a window has no more samples")] = 1


class SelectorWritten(Section):
    """A metric, which of its series, and how each becomes one value."""

    metric: Text
    match: dict[str, Annotated[MatchWritten, BeforeValidator(_text_or_list)]] = Field(default_factory=dict)
    reduce: Annotated[ReduceWritten, BeforeValidator(_word_alone)] = ReduceWritten()


class OperandWritten(SelectorWritten):
    """A second metric and the labels that join it."""

    on: Names


class OtherwiseWritten(SelectorWritten):
    """A condition on another metric that is trouble by itself."""

    op: OperatorWord
    threshold: Number


class WhenWritten(OperandWritten):
    """A condition on another metric that must hold too."""

    op: OperatorWord
    threshold: Number
    if_unknown: bool = False


class LevelWritten(Section):
    """One severity."""

    threshold: Number | None = None
    clear: Number | None = None
    for_seconds: Seconds = Field(default=0.0, validation_alias="for", serialization_alias="for")


class RuleWritten(SelectorWritten):
    """One rule."""

    name: RuleName
    by: tuple[Text, ...] | None = None  # none, which is not an empty list: that is one alert for all
    divided_by: OperandWritten | None = None
    than: OperandWritten | None = None
    op: OperatorWord
    or_: OtherwiseWritten | None = Field(default=None, validation_alias="or", serialization_alias="or")
    when: WhenWritten | None = None
    levels: dict[Severity, LevelWritten]
    keep_firing_for_seconds: Seconds = Field(
        default=0.0, validation_alias="keep_firing_for", serialization_alias="keep_firing_for"
    )
    on_missing: Literal["hold", "resolve", "fire"] = "hold"
    labels: dict[RuleLabelName, Text] = Field(default_factory=dict)
    annotations: dict[str, Text]
    runbook: Text | None = None


class RulesFile(Section):
    """A file of rules."""

    rules: tuple[RuleWritten, ...] = ()
    inhibit: tuple[InhibitSettings, ...] = ()


class PresetFile(Section):
    """A file of changes to shipped rules."""

    rules: dict[str, RuleOverride] = Field(default_factory=dict)


def shaped(shape: type[Shape], tree: object, written: Written) -> Shape | None:
    """Return what was written in its shape, or None where it has another."""
    try:
        return shape.model_validate(tree, context=written, by_alias=True, by_name=False)
    except ValidationError:
        return None


def shape_problems(root: type[Section], tree: object, written: Written) -> Iterator[tuple[KeyPath, str]]:
    """Yield where a file is not of its shape, and what to write there."""
    try:
        root.model_validate(tree, context=written, by_alias=True, by_name=False)
    except ValidationError as error:
        yield from explained(error, root)
