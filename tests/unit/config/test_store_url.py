"""Where a store lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from exporter.config.backup import S3Settings, StoreSettings
from exporter.config.secret import Secret
from exporter.config.store_url import Bucket, StoreUrl, bucket_of
from exporter.config.written import Written

READ = TypeAdapter(StoreUrl)


@pytest.mark.parametrize(
    ("written", "url", "bucket"),
    [
        ("s3://backups", "s3://backups", Bucket("backups", "")),
        ("s3://backups/", "s3://backups", Bucket("backups", "")),
        ("s3://backups/qdrant/prod//", "s3://backups/qdrant/prod", Bucket("backups", "qdrant/prod")),
        ("S3://my.backups-1/a_b=c", "s3://my.backups-1/a_b=c", Bucket("my.backups-1", "a_b=c")),
    ],
)
def test_a_bucket_has_one_spelling(written: str, url: str, bucket: Bucket) -> None:
    """Slashes too many fall away, the prefix stays."""
    read = READ.validate_python(written)

    assert read == url
    assert bucket_of(read) == bucket


def test_a_directory_begins_at_that_of_the_file_it_is_written_in(tmp_path: Path) -> None:
    """As every path does; an absolute one stays, and it need not be there."""
    written = Written(directory=tmp_path)

    assert READ.validate_python("backups/qdrant", context=written) == str(tmp_path / "backups/qdrant")
    assert READ.validate_python("/srv/backups", context=written) == "/srv/backups"
    assert READ.validate_python("backups") == "backups"
    assert bucket_of("/srv/s3://x") is None


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("s3://", "3 to 63"),
        ("s3://Hunter2Bucket/x", "3 to 63"),
        ("s3://hunter2:pass@bucket/x", "access_key_id:"),
        ("s3://bucket/../hunter2", "no . or .."),
        ("s3://bucket/hunter2?versionId=1", "prefix"),
        ("https://bucket.s3.amazonaws.com/hunter2", "only s3://"),
        ("gs://hunter2", "only s3://"),
        ("/srv/hunter2\n", "nobody can see"),
        ("/srv/\0hunter2", "nobody can see"),
    ],
)
def test_what_is_no_store_is_refused_without_repeating_it(written: str, hint: str) -> None:
    """The refusal says what to write; a key pasted there is not shown."""
    with pytest.raises(ValidationError) as refused:
        READ.validate_python(written)

    message = refused.value.errors(include_input=False, include_url=False)[0]["msg"]
    assert hint in message
    assert "hunter2" not in message.lower()


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """Said when the configuration is read, and not in the night."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ValidationError, match="no directory"):
        READ.validate_python("file", context=Written(directory=tmp_path))
    with pytest.raises(ValidationError, match="not the path of a directory"):
        READ.validate_python("x" * 5_000, context=Written(directory=tmp_path))


def test_a_key_without_its_secret_is_refused() -> None:
    """Half of a pair opens nothing."""
    with pytest.raises(ValidationError, match="write both or neither"):
        S3Settings(access_key_id=Secret("AKIA"))


def test_an_endpoint_has_the_port_of_its_scheme() -> None:
    """It is no Qdrant, so no 6333 is added."""
    settings = StoreSettings(url="s3://backups", s3=S3Settings(endpoint="https://minio.example.com/"))

    assert settings.s3.endpoint == "https://minio.example.com"
