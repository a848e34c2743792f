"""TLS to real sockets: authorities, client certificates, names, renewal."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from exporter.errors import SourceError, SourceUnreachable
from exporter.qdrant import tls as tls_module
from exporter.qdrant.gateway import Tls
from tests.kit.gateways import GatewayTo, ask
from tests.kit.servers import WireServer, answering, reply

GOOD = reply(200, b"{}")


class Authority:
    """A certificate authority with files for both sides."""

    def __init__(self, folder: Path, name: str) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.ca_file = folder / f"{name}-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def server(self, *names: str, ask_client: bool = False, **issue: Any) -> ssl.SSLContext:
        """Return the context of a server whose certificate bears these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, **issue).configure_cert(context)
        if ask_client:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_files(self) -> tuple[Path, Path]:
        """Write a client's certificate and key; return their paths."""
        issued = self._ca.issue_cert("exporter.test")
        cert_file, key_file = self._folder / "client.pem", self._folder / "client.key"
        issued.cert_chain_pems[0].write_to_path(str(cert_file))
        issued.private_key_pem.write_to_path(str(key_file))
        return cert_file, key_file


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that the servers of a test are signed by."""
    return Authority(tmp_path, "own")


async def failure_of(gateway_to: GatewayTo, server: WireServer, tls: Tls) -> SourceError:
    """Return why a call through this TLS fails."""
    with pytest.raises(SourceUnreachable) as raised:
        await ask(gateway_to(server.url, tls=tls))
    return raised.value


async def test_a_server_of_our_own_authority_is_trusted(gateway_to: GatewayTo, authority: Authority) -> None:
    """ca_file is all that a private authority needs."""
    async with WireServer(answering(GOOD), tls=authority.server("127.0.0.1")) as server:
        gateway = gateway_to(server.url, tls=Tls(ca_file=authority.ca_file))
        for _ in range(3):
            answer = await ask(gateway)

    assert answer.status == 200
    assert server.connections == 1


async def test_an_unknown_authority_is_refused_and_named_with_its_cure(
    gateway_to: GatewayTo, authority: Authority, tmp_path: Path
) -> None:
    """Neither the system's authorities nor another's vouch for it; the text says which option to set."""
    other = Authority(tmp_path, "other")
    async with WireServer(answering(GOOD), tls=authority.server("127.0.0.1")) as server:
        for tls in (Tls(), Tls(ca_file=other.ca_file)):
            failure = await failure_of(gateway_to, server, tls)
            assert "unknown authority: set tls ca_file" in failure.detail

    assert server.requests == []


async def test_an_expired_certificate_says_so(gateway_to: GatewayTo, authority: Authority) -> None:
    """The cure is on the server."""
    past = datetime.now(UTC) - timedelta(days=1)
    context = authority.server("127.0.0.1", not_after=past, not_before=past - timedelta(days=1))
    async with WireServer(answering(GOOD), tls=context) as server:
        failure = await failure_of(gateway_to, server, Tls(ca_file=authority.ca_file))

    assert failure.detail == "the server's certificate has expired: renew it there"


async def test_a_certificate_for_another_name_says_which_was_expected(
    gateway_to: GatewayTo, authority: Authority
) -> None:
    """A peer reached by address whose certificate bears a name."""
    async with WireServer(answering(GOOD), tls=authority.server("qdrant.test")) as server:
        failure = await failure_of(gateway_to, server, Tls(ca_file=authority.ca_file))

    assert "not for '127.0.0.1': set tls server_name" in failure.detail


async def test_a_server_name_is_sent_and_verified_in_place_of_the_host(
    gateway_to: GatewayTo, authority: Authority
) -> None:
    """server_name is the cure for the failure above."""
    context = authority.server("qdrant.test")
    sent: list[str | None] = []
    context.sni_callback = lambda _, name, __: sent.append(name)
    async with WireServer(answering(GOOD), tls=context) as server:
        tls = Tls(ca_file=authority.ca_file, server_name="qdrant.test")
        answer = await ask(gateway_to(server.url, tls=tls))

    assert answer.status == 200
    assert sent == ["qdrant.test"]


async def test_an_address_keeps_the_name_of_the_url_in_tls(
    gateway_to: GatewayTo, authority: Authority
) -> None:
    """One address of a name is verified as that name."""
    async with WireServer(answering(GOOD), tls=authority.server("qdrant.test")) as server:
        url = f"https://qdrant.test:{server.port}"
        answer = await ask(gateway_to(url, address="127.0.0.1", tls=Tls(ca_file=authority.ca_file)))

    assert answer.status == 200


async def test_verification_can_be_switched_off(gateway_to: GatewayTo, authority: Authority) -> None:
    """insecure_skip_verify takes any certificate, for whoever wrote it down."""
    async with WireServer(answering(GOOD), tls=authority.server("elsewhere.test")) as server:
        answer = await ask(gateway_to(server.url, tls=Tls(insecure_skip_verify=True)))

    assert answer.status == 200


async def test_a_client_certificate_opens_a_door_that_asks_for_one(
    gateway_to: GatewayTo, authority: Authority
) -> None:
    """Mutual TLS, with the certificate and the key in files of their own."""
    cert_file, key_file = authority.client_files()
    async with WireServer(answering(GOOD), tls=authority.server("127.0.0.1", ask_client=True)) as server:
        tls = Tls(ca_file=authority.ca_file, cert_file=cert_file, key_file=key_file)
        answer = await ask(gateway_to(server.url, tls=tls))

    assert answer.status == 200


@contextmanager
def strict_server(context: ssl.SSLContext) -> Iterator[str]:
    """Yield the url of a server that tells a refused client why, which asyncio's keeps to itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            tls = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            with suppress(ssl.SSLError):
                tls.do_handshake()
            # a close with bytes unread would be a reset and overtake the reason just sent
            with socket.socket(fileno=tls.detach()) as plain:
                while plain.recv(1000):
                    pass

        thread = Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_missing_client_certificate_is_named(
    gateway_to: GatewayTo, authority: Authority, version: ssl.TLSVersion
) -> None:
    """In TLS 1.3 the server's no comes after the handshake: it reads the same."""
    context = authority.server("127.0.0.1", ask_client=True)
    context.maximum_version = version
    with strict_server(context) as url, pytest.raises(SourceUnreachable) as raised:
        await ask(gateway_to(url, tls=Tls(ca_file=authority.ca_file)))

    assert "client certificate: set tls cert_file" in raised.value.detail


async def test_a_client_certificate_of_a_stranger_is_named(
    gateway_to: GatewayTo, authority: Authority, tmp_path: Path
) -> None:
    """A certificate that the server's authority did not sign."""
    cert_file, key_file = Authority(tmp_path, "other").client_files()
    tls = Tls(ca_file=authority.ca_file, cert_file=cert_file, key_file=key_file)
    context = authority.server("127.0.0.1", ask_client=True)
    with strict_server(context) as url, pytest.raises(SourceUnreachable) as raised:
        await ask(gateway_to(url, tls=tls))

    assert "refuses our client certificate" in raised.value.detail


async def test_https_to_a_port_without_tls_says_to_write_http(gateway_to: GatewayTo) -> None:
    """The commonest slip in a url."""
    async with WireServer(answering(reply(400))) as server:
        server.play = _answers_anything
        url = server.url.replace("http://", "https://")
        with pytest.raises(SourceUnreachable) as raised:
            await ask(gateway_to(url))

    assert raised.value.detail == "the server does not speak TLS on this port: write http:// in its url"


async def _answers_anything(wire: Any) -> None:
    await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await wire.request()


async def test_http_to_a_port_with_tls_is_a_failure_of_ours(
    gateway_to: GatewayTo, authority: Authority
) -> None:
    """The other way round: whatever the server makes of it, it is one of our errors."""
    async with WireServer(answering(GOOD), tls=authority.server("127.0.0.1")) as server:
        with pytest.raises(SourceError):
            await ask(gateway_to(server.url.replace("https://", "http://")))


@pytest.mark.parametrize(
    ("option", "content", "detail"),
    [
        ("ca_file", None, "tls ca_file cannot be used: No such file or directory"),
        ("ca_file", "rubbish", "tls ca_file cannot be used"),
        ("cert_file", None, "tls cert_file and key_file cannot be used: No such file or directory"),
        ("cert_file", "rubbish", "tls cert_file and key_file cannot be used"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_by_its_option(
    gateway_to: GatewayTo, tmp_path: Path, option: str, content: str | None, detail: str
) -> None:
    """Missing or not PEM: a fault of the peer's, never the end of the daemon."""
    file = tmp_path / "some.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SourceUnreachable) as raised:
        await ask(gateway_to("https://127.0.0.1:9", tls=Tls(**{option: file})))

    assert detail in raised.value.detail


async def test_an_encrypted_key_is_a_fault_and_asks_nobody_for_a_password(
    gateway_to: GatewayTo, authority: Authority, tmp_path: Path
) -> None:
    """OpenSSL would ask on the terminal and hang."""
    cert_file, key_file = authority.client_files()
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pw"),
        )
    )
    with pytest.raises(SourceUnreachable) as raised:
        await ask(gateway_to("https://127.0.0.1:9", tls=Tls(cert_file=cert_file, key_file=key_file)))

    assert "cert_file and key_file cannot be used" in raised.value.detail


async def test_renewed_files_are_read_again(
    gateway_to: GatewayTo, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new authority in the same file counts from the next connection on, without a reload."""
    monkeypatch.setattr(tls_module, "CHECK_SECONDS", 0.0)
    next_authority = Authority(tmp_path, "next")
    ca_file = tmp_path / "current.pem"
    ca_file.write_bytes(authority.ca_file.read_bytes())
    async with WireServer(answering(GOOD), tls=next_authority.server("127.0.0.1")) as server:
        gateway = gateway_to(server.url, tls=Tls(ca_file=ca_file))
        with pytest.raises(SourceUnreachable):
            await ask(gateway)
        ca_file.write_bytes(next_authority.ca_file.read_bytes())
        os.utime(ca_file, (1, 1))  # another time of change, whatever the file system's resolution
        answer = await ask(gateway)
        ca_file.write_text("half a fi")
        os.utime(ca_file, (2, 2))
        again = await ask(gateway)

    assert (answer.status, again.status) == (200, 200)
