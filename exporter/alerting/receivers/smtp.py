"""One mail handed to an SMTP server, in a thread, under a total deadline that cuts the connection."""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from email.utils import parseaddr
from enum import Enum

from exporter.alerting.receivers.answers import system_words
from exporter.alerting.receivers.own_threads import OwnThreads
from exporter.alerting.words import Delivery, Outcome
from exporter.config.alerting import EmailSettings
from exporter.config.quantities import format_duration

# Replies of 5xx to MAIL that are about the mail, its size or its content, and not about us.
_ABOUT_THE_MAIL = frozenset({552, 554})


class Step(Enum):
    """Where a conversation stands; what a reply of 5xx means depends on it."""

    CONNECTION = "the connection"
    LOGIN = "the login"
    SENDER = "the sender"
    RECIPIENTS = "the recipients"
    MAIL = "the mail"


async def submit(mail: EmailMessage, settings: EmailSettings, threads: OwnThreads) -> Delivery:
    """Hand a mail over and return what came of it. The deadline ends the thread's connection too."""
    talk = _Talk(mail, settings)
    try:
        return await threads.attempt(talk.run, deadline_seconds=settings.deadline_seconds)
    except TimeoutError:
        outcome = Outcome.UNKNOWN if talk.cut() else Outcome.RETRY
        how_far = "after the mail was sent" if outcome is Outcome.UNKNOWN else "before the mail was sent"
        return Delivery(outcome, f"no answer within {format_duration(settings.deadline_seconds)}, {how_far}")
    except asyncio.CancelledError:
        talk.cut()
        raise


def refused(step: Step, code: int) -> Delivery:
    """Return what a reply code means: 4xx passes; anything else is about the mail, or about us.

    The server's words are not told: they may repeat a name or a password.
    """
    reason = f"the server answered {code} to {step.value}"
    if 400 <= code < 500:
        return Delivery(Outcome.RETRY, reason, code)
    about_the_mail = step is Step.MAIL or (step is Step.SENDER and code in _ABOUT_THE_MAIL)
    return Delivery(Outcome.REJECTED if about_the_mail else Outcome.REFUSED, reason, code)


class _Talk:
    """One conversation. `cut` may come from another thread at any time."""

    def __init__(self, mail: EmailMessage, settings: EmailSettings) -> None:
        self._mail = mail
        self._settings = settings
        self._step = Step.CONNECTION
        self._is_written = False  # the mail is whole on its way
        self._lock = threading.Lock()
        self._wire: socket.socket | None = None  # a second handle: TLS takes the first one away
        self._is_cut = False
        self._is_sending = False

    def cut(self) -> bool:
        """End the conversation; return whether the server may have the whole mail by now.

        A name that is still looked up cannot be cut; then nothing is connected to.
        """
        with self._lock:
            self._is_cut = True
            if self._wire is not None:
                with suppress(OSError):
                    self._wire.shutdown(socket.SHUT_RDWR)
            return self._is_sending

    def run(self) -> Delivery:
        """Have the conversation. Raises nothing for what the network or the server does."""
        smtp: smtplib.SMTP | None = None
        try:
            smtp = self._connected()
            self._introduce(smtp)
            return self._hand_over(smtp)
        except smtplib.SMTPResponseException as error:
            return refused(self._step, error.smtp_code)
        except smtplib.SMTPNotSupportedError:
            lacks = "login" if self._step is Step.LOGIN else "STARTTLS"
            return Delivery(Outcome.REFUSED, f"the server offers no {lacks}")
        except UnicodeError:
            return Delivery(Outcome.REFUSED, "an address or the login has a character beyond ASCII")
        except (smtplib.SMTPException, OSError) as error:
            outcome = Outcome.UNKNOWN if self._is_written else Outcome.RETRY
            how_far = "after the mail was sent" if self._is_written else "before the mail was sent"
            return Delivery(outcome, f"the connection broke {how_far}{system_words(error)}")
        finally:
            if smtp is not None:
                with suppress(smtplib.SMTPException, OSError):
                    smtp.putcmd("quit")  # and nobody waits for a goodbye
                smtp.close()
            self._watch(None)

    def _connected(self) -> smtplib.SMTP:
        host, port, seconds = self._settings.host, self._settings.port, self._settings.deadline_seconds
        # smtplib would ask the DNS for our full name, however long that takes.
        name = socket.gethostname()
        return _Smtp(self._opened, host, port, name, timeout=seconds)

    def _opened(self) -> socket.socket:
        """Return a socket that `cut` can end from before it is connected, with TLS where that comes first."""
        until = time.monotonic() + self._settings.deadline_seconds
        failure: OSError = socket.gaierror("no address")
        found = socket.getaddrinfo(self._settings.host, self._settings.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            wire = socket.socket(family, kind, protocol)
            try:
                self._watch(wire)
                wire.settimeout(max(until - time.monotonic(), 0.001))
                wire.connect(address)
                return self._encrypted(wire)
            except OSError as error:
                wire.close()
                failure = error
        raise failure

    def _encrypted(self, wire: socket.socket) -> socket.socket:
        if self._settings.tls != "tls":
            return wire
        return ssl.create_default_context().wrap_socket(wire, server_hostname=self._settings.host)

    def _introduce(self, smtp: smtplib.SMTP) -> None:
        """Say who we are, encrypted where that is wanted."""
        if self._settings.tls == "starttls":
            smtp.starttls(context=ssl.create_default_context())
        smtp.ehlo_or_helo_if_needed()
        if self._settings.username is not None:
            self._step = Step.LOGIN
            password = self._settings.password
            smtp.login(self._settings.username, password.reveal() if password is not None else "")

    def _hand_over(self, smtp: smtplib.SMTP) -> Delivery:
        self._step = Step.SENDER
        _expect(250, smtp.mail(parseaddr(self._settings.sender)[1]))
        self._step = Step.RECIPIENTS
        refusals = self._name_recipients(smtp)
        self._step = Step.MAIL
        _expect(354, smtp.docmd("data"))
        with self._lock:
            self._stop_if_cut()
            self._is_sending = True
        # a line that is a single dot ends a mail, so dots that begin a line are doubled
        smtp.send(re.sub(rb"(?m)^\.", b"..", self._mail.as_bytes()).rstrip(b"\r\n") + b"\r\n.\r\n")
        self._is_written = True
        _expect(250, smtp.getreply())
        return Delivery(Outcome.DELIVERED, refusals)

    def _name_recipients(self, smtp: smtplib.SMTP) -> str:
        """Name them; return who is refused while others are taken. Raises where none is."""
        codes = {to: smtp.rcpt(parseaddr(to)[1])[0] for to in self._settings.recipients}
        refused_codes = {to: code for to, code in codes.items() if code not in (250, 251)}
        if len(refused_codes) == len(codes):
            passing = [code for code in refused_codes.values() if 400 <= code < 500]
            raise smtplib.SMTPResponseException((passing or [*refused_codes.values()])[0], b"")
        return ", ".join(f"{to} was refused with {code}" for to, code in refused_codes.items())

    def _watch(self, wire: socket.socket | None) -> None:
        """Let `cut` end this socket from now on, and the one before no more."""
        with self._lock:
            if self._wire is not None:
                self._wire.close()
            self._wire = None if wire is None else wire.dup()
            if wire is not None:
                self._stop_if_cut()

    def _stop_if_cut(self) -> None:
        if self._is_cut:
            raise smtplib.SMTPServerDisconnected("cut")


class _Smtp(smtplib.SMTP):
    """smtplib on a socket that we open: its own cannot be ended before the greeting is read."""

    def __init__(
        self, opened: Callable[[], socket.socket], host: str, port: int, name: str, *, timeout: float
    ) -> None:
        self._opened = opened
        super().__init__(host, port, name, timeout=timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        # the hook by which smtplib's own SMTP_SSL brings its socket too
        return self._opened()


def _expect(wanted: int, reply: tuple[int, bytes]) -> None:
    if reply[0] != wanted:
        raise smtplib.SMTPResponseException(reply[0], b"")
