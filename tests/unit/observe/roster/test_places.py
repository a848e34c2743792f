"""From the uris that a cluster lists to URLs and labels."""

from __future__ import annotations

import pytest

from exporter.observe.roster.places import label_at, urls_for
from tests.unit.observe.roster.saying import cluster


def test_a_listed_peer_is_looked_for_on_its_host_with_the_scheme_and_port_that_were_given() -> None:
    """The port in the uri is that of the traffic between peers."""
    assert urls_for("http://q-1:6335/", 7, cluster("https://q-0:6443")) == ("https://q-1:6443",)


def test_each_given_scheme_and_port_is_one_place_to_look() -> None:
    """Also those of DNS names; one that comes twice is one."""
    settings = cluster("http://a:6333", "http://b:6343", dns=["http://c:6333"])

    assert urls_for("http://q:6335/", 7, settings) == ("http://q:6333", "http://q:6343")


def test_a_template_says_where_discovered_peers_are() -> None:
    """Host and peer id are filled in, and nothing else is tried."""
    settings = cluster("http://a:6333", discovery={"url_template": "https://{peer_id}.{host}:443"})

    assert urls_for("http://q-1:6335/", 7, settings) == ("https://7.q-1:443",)


def test_an_ipv6_host_keeps_its_brackets() -> None:
    """In URL and label alike."""
    assert urls_for("http://[fd00::1]:6335/", 7, cluster("http://a:6333")) == ("http://[fd00::1]:6333",)
    assert label_at("http://[fd00::1]:6335/", "6333", peer_id=7) == "[fd00::1]:6333"


@pytest.mark.parametrize("uri", ["", "nonsense", "http://", "http://[::1:6335/", "http://a b:6335/"])
def test_a_uri_without_a_usable_host_makes_no_place(uri: str) -> None:
    """What a server says is never trusted to be a URL."""
    assert urls_for(uri, 7, cluster("http://a:6333")) == ()


def test_credentials_in_a_listed_uri_never_reach_a_url() -> None:
    """Only the host counts."""
    urls = urls_for("http://user:secret@q-1:6335/path?x=1", 7, cluster("http://a:6333"))

    assert urls == ("http://q-1:6333",)


def test_a_peer_whose_uri_is_not_known_is_labelled_by_its_id() -> None:
    """As METRICS says."""
    assert label_at(None, "6333", peer_id=7) == "id:7"
