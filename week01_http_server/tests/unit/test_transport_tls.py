import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from week01_http_server.transport.tls import CertificateError, Certificates

DAY = datetime.timedelta(days=1)


def written(
    folder: Path, authority: trustme.CA, *names: str, expires: datetime.datetime | None = None
) -> tuple[str, str]:
    issued = authority.issue_cert(*names, not_after=expires)
    stem = names[0].replace("*", "_")
    certificate, key = folder / f"{stem}.pem", folder / f"{stem}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return str(certificate), str(key)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Seen:
    """What a client that trusts `authority` sees of a handshake."""

    def __init__(
        self,
        certificates: Certificates,
        authority: trustme.CA,
        name: str | None,
        *,
        newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
        protocols: tuple[str, ...] = ("http/1.1",),
    ) -> None:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.maximum_version = newest
        client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        client.set_ciphers("DEFAULT:@SECLEVEL=0")  # else the client itself refuses TLS 1.1
        client.set_alpn_protocols(list(protocols))
        authority.configure_trust(client)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.asking = client.wrap_bio(back, there, server_hostname=name)
        answering = certificates.context.wrap_bio(there, back, server_side=True)
        for _ in range(4):
            for side in (self.asking, answering):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        self.protocol = answering.selected_alpn_protocol()
        shown: dict[str, Any] = self.asking.getpeercert() or {}
        self.names = [value for _, value in shown["subjectAltName"]]
        self.serial = shown["serialNumber"]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("a.example.org", "a.example.org"),
        ("b.example.org", "b.example.org"),
        ("B.Example.ORG", "b.example.org"),
        ("x.wild.example.org", "*.wild.example.org"),
        ("y.x.wild.example.org", "a.example.org"),
        ("wild.example.org", "a.example.org"),
        ("nobody.example.org", "a.example.org"),
        (None, "a.example.org"),
    ],
)
def test_each_name_gets_its_own_certificate_and_others_the_first(
    tmp_path: Path, authority: trustme.CA, asked: str | None, answered: str
) -> None:
    certificates = Certificates(
        [
            written(tmp_path, authority, "a.example.org"),
            written(tmp_path, authority, "b.example.org"),
            written(tmp_path, authority, "*.wild.example.org"),
        ]
    )
    assert Seen(certificates, authority, asked).names == [answered]


def test_http_1_1_is_agreed_on_and_nothing_where_the_client_has_only_h2(
    tmp_path: Path, authority: trustme.CA
) -> None:
    certificates = Certificates([written(tmp_path, authority, "a.example.org")])
    assert Seen(certificates, authority, None, protocols=("h2", "http/1.1")).protocol == "http/1.1"
    assert Seen(certificates, authority, None, protocols=("h2",)).protocol is None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_2_is_spoken_and_1_1_is_not(tmp_path: Path, authority: trustme.CA) -> None:
    certificates = Certificates([written(tmp_path, authority, "a.example.org")])
    seen = Seen(certificates, authority, "a.example.org", newest=ssl.TLSVersion.TLSv1_2)
    assert seen.asking.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        Seen(certificates, authority, None, newest=ssl.TLSVersion.TLSv1_1)


def test_new_handshakes_get_the_new_certificate_after_a_reload(
    tmp_path: Path, authority: trustme.CA
) -> None:
    pair = written(tmp_path, authority, "a.example.org")
    certificates = Certificates([pair])
    context = certificates.context
    before = Seen(certificates, authority, "a.example.org").serial
    assert written(tmp_path, authority, "a.example.org", "new.example.org") == pair
    assert Seen(certificates, authority, "a.example.org").serial == before
    assert certificates.reload() == []
    assert certificates.context is context
    for name in ("a.example.org", "new.example.org", None):
        assert Seen(certificates, authority, name).serial != before


def test_a_pair_that_is_bad_at_reload_keeps_the_old_one_and_says_so(
    tmp_path: Path, authority: trustme.CA
) -> None:
    pairs = [written(tmp_path, authority, name) for name in ("a.example.org", "b.example.org")]
    certificates = Certificates(pairs)
    before = [Seen(certificates, authority, name).serial for name in (None, "b.example.org")]
    written(tmp_path, authority, "a.example.org")
    Path(pairs[1][0]).write_text("half a file")
    [complaint] = certificates.reload()
    assert pairs[1][0] in complaint
    assert "old certificate stays" in complaint
    assert "\n" not in complaint
    assert Seen(certificates, authority, None).serial != before[0]
    assert Seen(certificates, authority, "b.example.org").serial == before[1]


def refusal(*pairs: tuple[str, str]) -> str:
    with pytest.raises(CertificateError) as refused:
        Certificates(pairs)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_pair_that_cannot_be_served_is_one_clear_line(
    tmp_path: Path, authority: trustme.CA
) -> None:
    certificate, key = written(tmp_path, authority, "a.example.org")
    _, other = written(tmp_path, authority, "b.example.org")
    empty = tmp_path / "empty"
    empty.write_text("")
    assert "none.pem: No such file" in refusal((str(tmp_path / "none.pem"), key))
    assert "none.key: No such file" in refusal((certificate, str(tmp_path / "none.key")))
    assert "Is a directory" in refusal((str(tmp_path), key))
    assert f"{other} is not the key of {certificate}" in refusal((certificate, other))
    assert "no certificate in" in refusal((str(empty), key))
    assert "no plain key in" in refusal((certificate, str(empty)))
    assert "at least one" in refusal()


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(
    tmp_path: Path, authority: trustme.CA
) -> None:
    from cryptography.hazmat.primitives import serialization as how

    certificate, key = written(tmp_path, authority, "a.example.org")
    opened = how.load_pem_private_key(Path(key).read_bytes(), password=None)
    Path(key).write_bytes(
        opened.private_bytes(
            how.Encoding.PEM,
            how.PrivateFormat.PKCS8,
            how.BestAvailableEncryption(b"secret"),
        )
    )
    assert "unencrypted" in refusal((certificate, key))


def test_an_expired_certificate_is_refused_at_the_start_and_at_reload(
    tmp_path: Path, authority: trustme.CA
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    pair = written(tmp_path, authority, "a.example.org")
    certificates = Certificates([pair])
    written(tmp_path, authority, "a.example.org", expires=now - DAY)
    assert "expired" in refusal(pair)
    assert "expired" in certificates.reload()[0]


def test_a_chain_with_an_intermediate_is_served_whole(
    tmp_path: Path, authority: trustme.CA
) -> None:
    pair = written(tmp_path, authority.create_child_ca(), "deep.example.org")
    assert Seen(Certificates([pair]), authority, "deep.example.org").names == ["deep.example.org"]
