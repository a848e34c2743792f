"""The settings of backups: where they lie, how long, and how they are proven.

When things happen is in `jobs.py`. A bound or a default has its reason beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from exporter.config.fields import Count, ExternalUrl, PeerUrl, Seconds, Section, Size, Text, within
from exporter.config.quantities import format_duration, format_size
from exporter.config.secret import Secret
from exporter.config.store_url import StoreUrl

_MEBIBYTE = 1 << 20
_DAY = 86_400.0


class S3Settings(Section):
    """How the bucket is reached. What is left out comes from AWS's own variables, or the machine's role."""

    endpoint: ExternalUrl | None = None  # None: AWS
    region: Text | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    # Path style is what every S3-compatible server answers to; AWS wants the bucket as a host.
    virtual_hosted_style: bool = False

    @model_validator(mode="after")
    def _key_with_its_secret(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: write both or neither")
        return self


class StoreSettings(Section):
    """The store of all backups."""

    url: StoreUrl  # a directory's path, or s3://bucket/prefix
    s3: S3Settings = S3Settings()
    # Bytes a second, both ways together. None: as fast as it goes.
    bandwidth_limit_bytes: (
        Annotated[
            Size,
            within(_MEBIBYTE, 1 << 40, show=format_size, reason="slower, 100 GiB would take over a day"),
        ]
        | None
    ) = Field(default=None, validation_alias="bandwidth_limit", serialization_alias="bandwidth_limit")
    # Only one daemon, and no person beside it, ever works on this store: then a store that ignores
    # put-if-absent, and so cannot lock, will do.
    single_writer: bool = False


class RetentionSettings(Section):
    """Which sets are kept. A set that any of these keeps is kept; the newest good one always is."""

    refused_keys: ClassVar[Mapping[str, str]] = {"keep_last": "write last"}

    last: Annotated[Count, within(1, 10_000, reason="the newest good set is never deleted")] = 7
    hourly: Annotated[Count, within(0, 10_000, reason="a count of hours")] = 0
    daily: Annotated[Count, within(0, 10_000, reason="a count of days")] = 7
    weekly: Annotated[Count, within(0, 10_000, reason="a count of weeks")] = 4
    monthly: Annotated[Count, within(0, 10_000, reason="a count of months")] = 6
    yearly: Annotated[Count, within(0, 10_000, reason="a count of years")] = 0
    within_seconds: Annotated[
        Seconds, within(0, 3_660 * _DAY, show=format_duration, reason="ten years are the most")
    ] = Field(default=0.0, validation_alias="within", serialization_alias="within")


class VerifyTargetSettings(Section):
    """Another Qdrant, to restore into and look."""

    url: PeerUrl
    api_key: Secret | None = None


class VerifySettings(Section):
    """How levels 3 and 4 are done where the engine cannot read the version, or is not installed."""

    target: VerifyTargetSettings | None = None
    # Restoring beside the original takes its memory and disk: nobody gets that by default.
    allow_same_cluster: bool = False
    # Of one set, for a restore into the same cluster.
    same_cluster_limit_bytes: Annotated[
        Size, within(_MEBIBYTE, 1 << 50, show=format_size, reason="it is restored beside the original")
    ] = Field(
        default=10 * 1024 * _MEBIBYTE,
        validation_alias="same_cluster_limit",
        serialization_alias="same_cluster_limit",
    )


class BackupSettings(Section):
    """Backups. Without a store there are none."""

    store: StoreSettings | None = None
    retention: RetentionSettings = RetentionSettings()
    verify: VerifySettings = VerifySettings()

    def secrets(self) -> tuple[Secret, ...]:
        """Return every secret, for the log to know what it must never show."""
        found: list[Secret | None] = []
        if self.store is not None:
            s3 = self.store.s3
            found += [s3.access_key_id, s3.secret_access_key, s3.session_token]
        if self.verify.target is not None:
            found.append(self.verify.target.api_key)
        return tuple(secret for secret in found if secret is not None)
