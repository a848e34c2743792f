"""Who gets in: TLS, client certificates and passwords of the web file, as it is now."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
import trustme

from exporter.clock import SystemClock
from exporter.errors import ConfigError
from exporter.web import passwords
from exporter.web.access import Access
from exporter.web.passwords import PasswordCheck
from exporter.web.server import STOP_SECONDS
from tests.unit.web.serving import Site, serving

# cost 4 is the cheapest bcrypt has: the tests are about who gets in, not about the time it takes
SECRET_HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
OTHER_HASH = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()


@pytest.fixture
def authority() -> trustme.CA:
    """Who signs our certificates."""
    return trustme.CA()


@pytest.fixture
def web_file(tmp_path: Path) -> Iterator[Path]:
    """Where the web file is to be written."""
    return tmp_path / "web.yaml"


def basic(name: str, password: str) -> dict[str, str]:
    """Return the header that says who asks."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def write_users(web_file: Path, **users: str) -> None:
    """Write a web file with these users and hashes, put into place in one step."""
    lines = "".join(f"  {name}: {hashed}\n" for name, hashed in users.items())
    replace(web_file, f"basic_auth_users:\n{lines}")


def replace(file: Path, text: str) -> None:
    """Put a new file into the place of the old one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


def write_certificate(directory: Path, authority: trustme.CA) -> int:
    """Write a new certificate and key; return its serial number."""
    issued = authority.issue_cert("localhost")
    (directory / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    decoded = ssl._ssl._test_decode_cert(str(directory / "cert.pem"))  # type: ignore[attr-defined]
    return int(decoded["serialNumber"], 16)


def client(authority: trustme.CA) -> ssl.SSLContext:
    """Return a client's side of TLS that trusts this authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def serial_number(site: Site, context: ssl.SSLContext) -> int:
    """Return which certificate the server shows."""
    _, writer = await site.connect(context)
    serial = int(writer.get_extra_info("peercert")["serialNumber"], 16)
    writer.close()
    await writer.wait_closed()
    return serial


async def test_the_right_password_gets_in_and_nothing_else(web_file: Path) -> None:
    """Every path is behind the password; a 401 says how to ask."""
    write_users(web_file, alice=SECRET_HASH)
    async with serving(web_file=web_file) as site:
        assert (await site.ask("GET", "/metrics", basic("alice", "secret"))).status == 200
        for headers in (
            {},
            basic("alice", "wrong"),
            basic("alice", ""),
            basic("bob", "secret"),
            basic("", ""),
            {"authorization": "Basic !!!"},
            {"authorization": "Bearer secret"},
            {"authorization": "Basic " + base64.b64encode(b"alice").decode()},
            basic("alice", "nul\0byte"),
            basic("alice", "x" * 5_000),
        ):
            for path in ("/metrics", "/-/healthy", "/", "/nothing"):
                answer = await site.ask("GET", path, headers)

                assert answer.status == 401
                assert answer.headers["www-authenticate"].startswith("Basic ")
                assert answer.headers["x-frame-options"] == "DENY"


async def test_a_hash_as_htpasswd_writes_it_is_understood(web_file: Path) -> None:
    """htpasswd -B marks its hashes $2y$."""
    write_users(web_file, alice=SECRET_HASH.replace("$2b$", "$2y$"))
    async with serving(web_file=web_file) as site:
        assert (await site.ask("GET", "/metrics", basic("alice", "secret"))).status == 200


async def test_a_password_longer_than_bcrypt_reads_still_gets_in(web_file: Path) -> None:
    """The hash was made of the first 72 bytes, and those are right."""
    write_users(web_file, alice=bcrypt.hashpw(b"p" * 72, bcrypt.gensalt(4)).decode())
    async with serving(web_file=web_file) as site:
        assert (await site.ask("GET", "/metrics", basic("alice", "p" * 100))).status == 200


async def test_a_password_opens_reload_and_config(web_file: Path) -> None:
    """Web auth is what the closed paths ask for."""
    write_users(web_file, alice=SECRET_HASH)
    async with serving(web_file=web_file) as site:
        assert (await site.ask("GET", "/config", basic("alice", "secret"))).status == 200
        assert (await site.ask("POST", "/-/reload", basic("alice", "secret"))).status == 200


async def test_a_changed_password_holds_from_the_next_request_on(web_file: Path) -> None:
    """Also the old one is forgotten, though it was right a moment ago."""
    write_users(web_file, alice=SECRET_HASH)
    async with serving(web_file=web_file) as site:
        assert (await site.ask("GET", "/metrics", basic("alice", "secret"))).status == 200

        write_users(web_file, alice=OTHER_HASH)

        assert (await site.ask("GET", "/metrics", basic("alice", "secret"))).status == 401
        assert (await site.ask("GET", "/metrics", basic("alice", "other"))).status == 200


async def test_a_broken_new_file_leaves_the_old_one_in_force(web_file: Path) -> None:
    """And a file that is gone too: nobody gets in who could not before."""
    write_users(web_file, alice=SECRET_HASH)
    async with serving(web_file=web_file) as site:
        for text in ("basic_auth_users: [", "basic_auth_users:\n  alice: plain\n"):
            replace(web_file, text)
            assert (await site.ask("GET", "/metrics")).status == 401
            assert (await site.ask("GET", "/metrics", basic("alice", "secret"))).status == 200

        web_file.unlink()
        assert (await site.ask("GET", "/metrics")).status == 401
        assert (await site.ask("GET", "/metrics", basic("alice", "secret"))).status == 200

        write_users(web_file, alice=OTHER_HASH)
        assert (await site.ask("GET", "/metrics", basic("alice", "other"))).status == 200


async def test_headers_of_the_file_go_with_every_answer(web_file: Path) -> None:
    """They outrank ours."""
    web_file.write_text("http_server_config:\n  headers:\n    X-Frame-Options: SAMEORIGIN\n")
    async with serving(web_file=web_file) as site:
        assert (await site.ask("GET", "/metrics")).headers["x-frame-options"] == "SAMEORIGIN"


async def test_a_right_password_is_worked_out_once() -> None:
    """bcrypt takes a tenth of a second; a scrape every 15 s must not pay it each time."""
    users = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()}
    check = PasswordCheck()
    first_seconds = await _took(check, users, "alice", "secret")

    again_seconds = min([await _took(check, users, "alice", "secret") for _ in range(5)])

    assert again_seconds < first_seconds / 20


async def test_an_unknown_user_costs_what_a_wrong_password_costs() -> None:
    """The time of an answer does not tell which names exist."""
    users = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(9)).decode()}
    check = PasswordCheck()
    wrong = [await _took(check, users, "alice", "wrong") for _ in range(5)]
    unknown = [await _took(check, users, "bob", "wrong") for _ in range(5)]

    assert min(unknown) > min(wrong) / 2
    assert min(wrong) > min(unknown) / 2


async def test_the_loop_goes_on_while_a_password_is_checked() -> None:
    """The work is done in a thread that leaves the interpreter to others."""
    users = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(11)).decode()}
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.001)
            beats += 1

    beating = asyncio.create_task(beat())
    assert await PasswordCheck().is_right(users, "alice", "secret")
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)

    assert beats > 5  # a check takes a tenth of a second, and if it held the loop there would be one or two


async def test_a_flood_of_guesses_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond those waiting nobody queues, while who is known already gets in at once."""
    monkeypatch.setattr(passwords, "MAX_WAITING", 2)
    users = {"alice": SECRET_HASH}
    check = PasswordCheck()
    assert await check.is_right(users, "alice", "secret")

    guesses = [asyncio.create_task(check.is_right(users, "alice", f"guess {at}")) for at in range(10)]
    await asyncio.sleep(0)

    assert await check.is_right(users, "alice", "secret") is True
    answers = await asyncio.gather(*guesses)
    assert (answers.count(None), answers.count(False)) == (8, 2)


async def test_the_page_is_served_over_tls(web_file: Path, authority: trustme.CA) -> None:
    """And plain HTTP on the same port gets no answer."""
    write_certificate(web_file.parent, authority)
    web_file.write_text("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")
    async with serving(web_file=web_file) as site:
        answer = await site.ask("GET", "/metrics", context=client(authority))
        assert (answer.status, answer.body) == (200, b"qdrantx_up 1\n")

        reader, writer = await site.connect()
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readuntil(b"HTTP/1.1"), 20)
        writer.close()


async def test_a_renewed_certificate_is_shown_to_the_next_client(
    web_file: Path, authority: trustme.CA
) -> None:
    """Without a restart, and lines that are open stay open."""
    context = client(authority)
    first = write_certificate(web_file.parent, authority)
    web_file.write_text("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")
    async with serving(web_file=web_file) as site:
        address = site.address
        assert await serial_number(site, context) == first
        reader, writer = await site.connect(context)

        second = write_certificate(web_file.parent, authority)

        assert await serial_number(site, context) == second != first
        writer.write(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"healthy.\n")).startswith(b"HTTP/1.1 200")
        assert site.address == address
        writer.close()
        await writer.wait_closed()


async def test_a_key_that_does_not_fit_its_certificate_leaves_the_old_pair_in_force(
    web_file: Path, authority: trustme.CA
) -> None:
    """Files are replaced one after the other; between the two we go on with what we had."""
    context = client(authority)
    first = write_certificate(web_file.parent, authority)
    web_file.write_text("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")
    async with serving(web_file=web_file) as site:
        key_before = (web_file.parent / "key.pem").read_bytes()
        second = write_certificate(web_file.parent, authority)
        key_after = (web_file.parent / "key.pem").read_bytes()

        (web_file.parent / "key.pem").write_bytes(key_before)
        assert await serial_number(site, context) == first

        replace(web_file.parent / "key.pem", key_after.decode())
        assert await serial_number(site, context) == second


async def test_only_clients_with_a_certificate_get_in_where_that_is_asked_for(
    web_file: Path, authority: trustme.CA
) -> None:
    """And they may see the configuration, as we know who they are."""
    write_certificate(web_file.parent, authority)
    authority.cert_pem.write_to_path(str(web_file.parent / "ca.pem"))
    web_file.write_text(
        "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
    )
    known = client(authority)
    authority.issue_cert("scraper@example.org").configure_cert(known)
    stranger = client(authority)
    trustme.CA().issue_cert("scraper@example.org").configure_cert(stranger)
    async with serving(web_file=web_file) as site:
        assert (await site.ask("GET", "/config", context=known)).status == 200
        for context in (client(authority), stranger):
            with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
                await site.ask("GET", "/metrics", context=context)


async def test_tls_can_be_switched_on_without_a_restart(web_file: Path, authority: trustme.CA) -> None:
    """Each connection is greeted as the file says at that moment."""
    write_certificate(web_file.parent, authority)
    web_file.write_text("")
    async with serving(web_file=web_file) as site:
        assert (await site.ask("GET", "/metrics")).status == 200

        replace(web_file, "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")

        assert (await site.ask("GET", "/metrics", context=client(authority))).status == 200


async def test_a_client_that_never_says_hello_does_not_hold_up_the_stop(
    web_file: Path, authority: trustme.CA
) -> None:
    """Its line is cut: there is no answer to wait for."""
    write_certificate(web_file.parent, authority)
    web_file.write_text("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")
    async with serving(web_file=web_file) as site:
        _, writer = await site.connect()
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await site.server.stop()
        took_seconds = time.monotonic() - started
        writer.close()

    assert took_seconds < STOP_SECONDS / 2


@pytest.mark.parametrize(
    ("cert", "key", "complaint"),
    [
        ("not a certificate", "not a key", "cert_file: cannot be used with its key_file"),
        ("", "", "cert_file: cannot be used with its key_file"),
    ],
)
def test_certificates_that_cannot_be_used_are_told_at_the_start(
    web_file: Path, cert: str, key: str, complaint: str
) -> None:
    """With the option to look at."""
    (web_file.parent / "cert.pem").write_text(cert)
    (web_file.parent / "key.pem").write_text(key)
    web_file.write_text("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")

    with pytest.raises(ConfigError, match=complaint):
        Access(path=web_file, clock=SystemClock()).open()


async def _took(check: PasswordCheck, users: dict[str, str], name: str, password: str) -> float:
    """Return the processor's seconds: those of the clock are what the machine has left for us."""
    started = time.process_time()
    await check.is_right(users, name, password)
    return time.process_time() - started
