"""TLS: which certificate answers for which name, and how new ones come into use.

TLS 1.2 or newer (RFC 9325), ALPN "http/1.1" (RFC 7301), one certificate for each name that a
client asks for (SNI, RFC 6066 section 3). New files are taken up by `reload`: connections that
are open keep what they shook hands with, new handshakes get the new certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

FIX = "give a PEM certificate chain and its own unencrypted PEM key"


class CertificateError(Exception):
    """A pair of files that cannot be served; one line that says what to do."""


class Certificates:
    """The server's pairs of files.

    Args:
        pairs: (certificate chain file, key file); the first answers for names that have none.

    Raises:
        CertificateError: a pair is unreadable, mismatched, expired or not yet valid.

    Attributes:
        context: for `create_server(ssl=...)`; the same object before and after a reload.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        if not pairs:
            raise CertificateError("TLS needs at least one certificate and key")
        self._pairs = tuple(pairs)
        self._loaded = [_load(*pair) for pair in self._pairs]
        self._by_name = _table(self._loaded)
        # Every handshake is handed on from here, also one without a name.
        self.context = _context(*self._pairs[0])
        self.context.sni_callback = self._choose

    def reload(self) -> list[str]:
        """Take up the files as they are now; returns one line for each pair that keeps its old
        certificate because the new one cannot be served."""
        complaints = []
        loaded = []
        for pair, old in zip(self._pairs, self._loaded, strict=True):
            try:
                loaded.append(_load(*pair))
            except CertificateError as error:
                complaints.append(f"{error}; the old certificate stays in use")
                loaded.append(old)
        self._loaded, self._by_name = loaded, _table(loaded)
        return complaints

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        lowered = (name or "").lower()
        chosen = self._by_name.get(lowered)
        if chosen is None and "." in lowered:  # RFC 9525, 6.3: a wildcard is one whole label
            chosen = self._by_name.get("*." + lowered.split(".", 1)[1])
        connection.context = chosen or self._loaded[0][0]


_Loaded = tuple[ssl.SSLContext, list[str]]


def _table(loaded: Sequence[_Loaded]) -> dict[str, ssl.SSLContext]:
    """The first pair that has a name answers for it."""
    table: dict[str, ssl.SSLContext] = {}
    for context, names in loaded:
        for name in names:
            table.setdefault(name, context)
    return table


def _load(certificate: str, key: str) -> _Loaded:
    context = _context(certificate, key)
    return context, _names(context, certificate)


def _context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    for path in (certificate, key):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise CertificateError(f"cannot read {path}: {error.strerror}; {FIX}") from None
    try:
        # An empty password: without one OpenSSL would ask the terminal for an encrypted key's.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        if reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            text = f"{key} is not the key of {certificate}"
        elif reason in ("PEM_LIB", "NO_START_LINE", "BAD_DECRYPT") or "PEM" in str(error):
            text = f"no certificate in {certificate} or no plain key in {key}"
        else:
            text = f"cannot use {certificate} with {key}: {reason}"
        raise CertificateError(f"{text}; {FIX}") from None
    return context


def _names(server: ssl.SSLContext, certificate: str) -> list[str]:
    """The names a certificate is for, after a handshake with ourselves in memory.

    That handshake is the check: a certificate that is expired, or no server's, fails it. The
    standard library parses certificates only for a client that trusts them, so ours trusts
    exactly this one.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cafile=certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there)
    answering = server.wrap_bio(there, back, server_side=True)
    try:
        for _ in range(4):  # flights of a whole handshake: two for TLS 1.3, four for 1.2
            for side in (asking, answering):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(
            f"{certificate} cannot be served: {error.verify_message}; renew it, or set the clock"
        ) from None
    except ssl.SSLError as error:
        raise CertificateError(f"{certificate} cannot be served: {error.reason}; {FIX}") from None
    shown = asking.getpeercert() or {}
    alternatives: Sequence[tuple[str, str]] = shown.get("subjectAltName", ())  # type: ignore[assignment]
    return [name.lower() for kind, name in alternatives if kind == "DNS"]
