"""URLs of peers and addresses to listen on."""

from __future__ import annotations

import pytest

from exporter.config.addresses import (
    ListenAddress,
    checked_template,
    is_loopback,
    normal_url,
    split_listen_address,
)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("http://qdrant-0:6333", "http://qdrant-0:6333"),
        ("http://qdrant-0", "http://qdrant-0:6333"),
        ("https://qdrant-0", "https://qdrant-0:6333"),
        ("https://x.example.com:443/", "https://x.example.com:443"),
        ("HTTP://Qdrant_0.Example:80/a/b/", "http://qdrant_0.example:80/a/b"),
        ("http://[::1]:6333", "http://[::1]:6333"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]:6333"),
        ("http://10.0.0.1:1", "http://10.0.0.1:1"),
    ],
)
def test_a_url_has_one_spelling(written: str, normal: str) -> None:
    """Two spellings of one peer must not become two peers; without a port it is 6333."""
    assert normal == normal_url(written)
    assert normal == normal_url(normal)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("qdrant-0:6333", "the scheme must be http:// or https://"),
        ("grpc://a:6334", "the scheme must be http:// or https://"),
        ("http://", "the URL names no host"),
        ("http://:6333", "the URL names no host"),
        ("http://a:0", "the port of a URL is a number from 1 to 65535"),
        ("http://a:99999", "the port of a URL is a number from 1 to 65535"),
        ("http://a:port", "the port of a URL is a number from 1 to 65535"),
        ("http://a b", "a URL has no spaces and no line breaks"),
        ("http://u:p@a", "a user or password does not belong in a URL; write api_key: instead"),
        ("http://u@a", "a user or password does not belong in a URL; write api_key: instead"),
        ("http://a?x=1", "a URL here has no ? and no #"),
        ("http://a/#", "a URL here has no ? and no #"),
        ("http://a/ä", "the path of the URL has characters that need %-encoding"),
        ("http://ä", "the host of the URL has characters that no host name has"),
        ("http://[::1", "this is not a URL"),
        ("http://[1::2::3]", "this is not a URL"),
    ],
)
def test_a_url_that_cannot_be_a_peer_is_explained(written: str, message: str) -> None:
    """Each message says what is wrong in words."""
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        normal_url(written)


@pytest.mark.parametrize("template", ["https://{host}:6333", "http://q-{peer_id}.example/{host}"])
def test_a_template_makes_urls_of_host_and_peer_id(template: str) -> None:
    """It is kept as written."""
    assert template == checked_template(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("https://qdrant:6333", "write a URL with {host} or {peer_id} in it"),
        ("https://{host}:{port}", "only {host} and {peer_id} can stand in braces"),
        ("{host}:6333", "the scheme must be http:// or https://"),
        ("http://key@{host}", "a user or password does not belong in a URL"),
    ],
)
def test_a_template_that_makes_no_urls_is_explained(template: str, message: str) -> None:
    """The wrong template would otherwise show as peers that are down."""
    with pytest.raises(ValueError, match=message):
        checked_template(template)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        (":10633", ListenAddress("", 10633)),
        ("0.0.0.0:10633", ListenAddress("0.0.0.0", 10633)),
        ("[::1]:10633", ListenAddress("::1", 10633)),
        ("localhost:0", ListenAddress("localhost", 0)),
    ],
)
def test_an_address_to_listen_on_is_host_and_port(written: str, address: ListenAddress) -> None:
    """Without a host it is every interface."""
    assert address == split_listen_address(written)


@pytest.mark.parametrize(
    "written", ["", "10633", "localhost", "a:b", ":70000", "::1:10633", "[a]:1", "http://a:1"]
)
def test_an_address_that_cannot_be_listened_on_is_refused(written: str) -> None:
    """The message shows the three forms."""
    with pytest.raises(ValueError, match='write an address to listen on such as ":10633"'):
        split_listen_address(written)


def test_loopback_is_known_by_name_and_by_address() -> None:
    """A key may go there over plain http without a warning."""
    assert [
        is_loopback(host) for host in ("localhost", "127.8.0.1", "::1", "10.0.0.1", "localhost.example")
    ] == [True, True, True, False, False]
