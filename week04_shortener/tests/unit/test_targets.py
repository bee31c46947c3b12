"""Where links may lead, and every way that was found to write where they may not."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.targets.hosts import host_of, is_global
from week04_shortener.targets.rules import BadUrl, TargetRules, accept, own_host

RULES = TargetRules(
    max_chars=2048, own=own_host("https://sho.rt"), is_blocked=lambda host: host == "evil.example"
)

ACCEPTED = {
    "https://example.org/a": "https://example.org/a",
    "HTTP://EXAMPLE.ORG": "http://example.org",
    "https://example.org./": "https://example.org./",
    "https://www.sho.rt.example.org/": "https://www.sho.rt.example.org/",
    "https://www.sho.rt/": "https://www.sho.rt/",
    "https://not-sho.rt/": "https://not-sho.rt/",
    "https://my_host.example.org:8443/?q=1#f": "https://my_host.example.org:8443/?q=1#f",
    "https://xn--bcher-kva.example/": "https://xn--bcher-kva.example/",
    "https://localhost.example.org/": "https://localhost.example.org/",
    "https://local.example.org/": "https://local.example.org/",
    "https://mylocal.org/": "https://mylocal.org/",
    "https://internal.example.org/": "https://internal.example.org/",
    "https://arpa.example.org/": "https://arpa.example.org/",
    "https://10.example.org/": "https://10.example.org/",
    "https://127.0.0.1.example.org/": "https://127.0.0.1.example.org/",
    "https://0x7f.example/": "https://0x7f.example/",
    "https://not-evil.example/": "https://not-evil.example/",
    "http://8.8.8.8/": "http://8.8.8.8/",
    "http://8.8.8.8.:53/": "http://8.8.8.8:53/",
    "http://134744072/x": "http://8.8.8.8/x",
    "http://0x08080808/": "http://8.8.8.8/",
    "http://010.8.2056:80/?a": "http://8.8.8.8:80/?a",
    "http://9.255.255.255/": "http://9.255.255.255/",
    "http://172.15.0.1/": "http://172.15.0.1/",
    "http://172.32.0.1/": "http://172.32.0.1/",
    "http://100.63.255.255/": "http://100.63.255.255/",
    "http://223.255.255.255/": "http://223.255.255.255/",
    "http://[2606:4700::1111]/": "http://[2606:4700::1111]/",
    "http://[2606:4700:0:0::1111]:8080/a": "http://[2606:4700::1111]:8080/a",
    "http://[2002:808:808::1]/": "http://[2002:808:808::1]/",
    "http://[64:ff9b::8.8.8.8]/": "http://[64:ff9b::808:808]/",
    "https://example.org/http://127.0.0.1/": "https://example.org/http://127.0.0.1/",
    "https://example.org/?next=http://localhost/": "https://example.org/?next=http://localhost/",
}

HOSTILE = {
    "special address": [
        "http://127.0.0.1/",
        "http://127.0.0.1:8400/",
        "http://127.255.255.254/",
        "http://2130706433/",  # one decimal number
        "http://017700000001/",  # one octal number
        "http://0x7f000001/",  # one hexadecimal number
        "http://0X7F.1/",
        "http://0177.0.0.1/",
        "http://0000177.0.0.01/",
        "http://0x7f.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.0x1/",
        "http://0177.0x0.1/",
        "http://127.65535/",
        "http://127.0.0.1./",
        "http://2130706433./",
        "http://0/",
        "http://0x/",
        "http://0.0.0.0/",
        "http://00000000000/",
        "http://10.0.0.1/",
        "http://10.1/",
        "http://167772161/",
        "http://012.0.0.1/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://0xac.0x10.1/",
        "http://192.168.0.1/",
        "http://192.168.257/",
        "http://3232235521/",
        "http://0xc0a80001/",
        "http://0300.0250.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://100.64.0.1/",
        "http://100.127.255.255/",
        "http://192.0.0.1/",
        "http://192.0.2.1/",
        "http://198.18.0.1/",
        "http://198.51.100.7/",
        "http://203.0.113.9/",
        "http://224.0.0.1/",
        "http://239.255.255.250/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://4294967295/",
        "http://[::]/",
        "http://[::1]/",
        "http://[::1]:8400/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[0000::0001]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:10.0.0.1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:0:127.0.0.1]/",  # IPv4-translated, RFC 2765
        "http://[::127.0.0.1]/",  # IPv4-compatible
        "http://[::10.0.0.1]/",
        "http://[2002:7f00:1::]/",  # 6to4 of 127.0.0.1
        "http://[2002:c0a8:1::1]/",
        "http://[64:ff9b::10.0.0.1]/",  # NAT64
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[64:ff9b:1::10.0.0.1]/",
        "http://[2001:0:53aa:64c:0:0:80ff:fffe]/",  # Teredo
        "http://[fe80::1]/",
        "http://[febf::1]/",
        "http://[fec0::1]/",
        "http://[fc00::1]/",
        "http://[fd12:3456:789a::1]/",
        "http://[fd00:ec2::254]/",
        "http://[ff02::1]/",
        "http://[2001:db8::1]/",
        "http://[3fff::1]/",
        "http://[100::1]/",
        "http://[5f00::1]/",
    ],
    "no IPv4 address": [
        "http://127.0.0.0.1/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://1.256.1.1/",
        "http://127.0.0.256/",
        "http://127.0.65536/",
        "http://127.16777216/",
        "http://4294967296/",
        "http://99999999999999999999/",
        "http://09/",
        "http://127.0.0.08/",
        "http://0x7g.1/",
        "http://example.1/",
        "http://example.0x7f/",
        "http://example.0x/",
    ],
    "local network": [
        "http://localhost/",
        "http://LOCALHOST:8400/",
        "http://localhost./",
        "http://a.localhost/",
        "http://a.b.LocalHost./",
        "http://printer.local/",
        "http://metadata.google.internal/",
        "http://router.home.arpa/",
        "http://home.arpa./",
        "http://x.home.arpa./",
        "http://intranet/",
        "http://com/",
        "http://my_host:8080/",
    ],
    "back to this service": [
        "https://sho.rt/",
        "http://sho.rt/abc",
        "https://SHO.RT/abc",
        "https://sho.rt:8443/",
        "https://sho.rt./abc",
        "https://sho.rt.:443/",
    ],
    "block list": ["https://evil.example/", "https://EVIL.example./x"],
    "user name": [
        "http://user@example.org/",
        "http://example.org:80@127.0.0.1/",
        "http://8.8.8.8%40@127.0.0.1/",
    ],
    "must begin with": [
        "javascript:alert(1)",
        "JaVaScRiPt://example.org/%0aalert(1)",
        "data:text/html,<script>",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "//127.0.0.1/",
        "view-source:http://example.org/",
    ],
    "malformed": [
        "http://%31%32%37.0.0.1/",
        "http://127%2E0.0.1/",
        "http://loc%61lhost/",
        "http://[::1",
        "http://[::1]x/",
        "http://[127.0.0.1]/",
        "http://127..1/",
        "http://127.0.0.1../",
        "http://example.org:99999/",
    ],
    "network interface": ["http://[fe80::1%25eth0]/", "http://[::1%25lo]/"],
    "ASCII": [
        "http://\u24d1ocalhost/",  # a letter in a circle
        "http://\uff11\uff12\uff17.0.0.1/",  # fullwidth digits
        "http://127\u30020\u30020\u30021/",  # ideographic full stops
        "http://sho.\uff52t/",
        "http://l\u043ecalhost/",  # a Cyrillic letter
    ],
    "control character or a backslash": [
        "http://127.0.0.1\t/",
        "http://example.org\\@127.0.0.1/",
        "http:\\\\127.0.0.1/",
        "http://exa\nmple.org/",
        " http://example.org/",
        "http://example.org/\u2028",
    ],
    "no host": ["http:///127.0.0.1/", "http:/127.0.0.1/", "http:127.0.0.1", "http://", "http://?a"],
}


@pytest.mark.parametrize(("url", "kept"), ACCEPTED.items())
def test_accepted(url: str, kept: str) -> None:
    assert accept(url, RULES) == kept
    assert accept(kept, RULES) == kept


def test_an_address_written_out_may_be_too_long() -> None:
    """http://8.8/ is http://8.0.0.8/, four characters more."""
    rules = TargetRules(max_chars=32, own=own_host("https://sho.rt"))
    fits = "http://8.8/" + "x" * 17
    assert accept(fits, rules) == "http://8.0.0.8/" + "x" * 17
    with pytest.raises(BadUrl, match="more than 32 characters"):
        accept(fits + "x", rules)


def test_a_global_address_within_ipv6_is_accepted() -> None:
    # Python 3.13 writes it the other way; both are the same 128 bits.
    kept = accept("http://[::FFFF:8.8.8.8]/", RULES)
    assert kept in ("http://[::ffff:808:808]/", "http://[::ffff:8.8.8.8]/")


@pytest.mark.parametrize(
    ("url", "reason"), [(url, reason) for reason, urls in HOSTILE.items() for url in urls]
)
def test_refused(url: str, reason: str) -> None:
    with pytest.raises(BadUrl, match=reason):
        accept(url, RULES)


def test_private_targets_can_be_allowed_and_the_rest_stays_refused() -> None:
    rules = TargetRules(max_chars=2048, own=own_host("https://sho.rt"), allow_private=True)
    for url in HOSTILE["special address"] + HOSTILE["local network"]:
        accept(url, rules)
    for reason in ("no IPv4 address", "back to this service", "user name", "must begin with"):
        for url in HOSTILE[reason]:
            with pytest.raises(BadUrl, match=reason):
                accept(url, rules)


@pytest.mark.parametrize("own", ["http://127.0.0.1:8400", "http://localhost", "http://[::1]:1"])
def test_a_service_on_loopback_is_not_reached_by_any_name_of_loopback(own: str) -> None:
    rules = TargetRules(max_chars=2048, own=own_host(own), allow_private=True)
    for host in (
        "127.0.0.1", "127.0.0.1:9", "0x7f.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]",
        "localhost", "LOCALHOST.", "a.localhost", "0.0.0.0", "0", "[::]",
    ):  # fmt: skip
        with pytest.raises(BadUrl, match="back to this service"):
            accept(f"http://{host}/", rules)
    assert accept("http://10.0.0.1/", rules)


def test_a_service_with_an_address_for_a_name_is_known_in_every_spelling() -> None:
    rules = TargetRules(max_chars=2048, own=own_host("http://8.8.8.8"))
    for host in ("8.8.8.8", "134744072", "0x8.0x8.2056", "[::ffff:8.8.8.8]", "[2002:808:808::]"):
        with pytest.raises(BadUrl, match="back to this service"):
            accept(f"http://{host}/", rules)


def spellings(address: int) -> list[str]:
    """The address as browsers read it, in many ways."""
    a, b, c, d = address.to_bytes(4, "big")
    rest = address & 0xFFFFFF
    return [
        f"{a}.{b}.{c}.{d}", str(address), hex(address), f"0{address:o}", f"{a}.{rest}",
        f"0x{a:X}.{b}.{c << 8 | d}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a}.{b}.{c}.{d}.",
        f"000{a:o}.{hex(rest)}",
    ]  # fmt: skip


@given(st.integers(0, 2**32 - 1))
def test_every_spelling_of_an_address_is_that_address(address: int) -> None:
    meant = ipaddress.IPv4Address(address)
    for text in spellings(address):
        assert host_of(text.lower()) == meant, text
        if is_global(meant):
            assert accept(f"http://{text}/", RULES) == f"http://{meant}/"
        else:
            with pytest.raises(BadUrl, match="special address"):
                accept(f"http://{text}/", RULES)


@given(st.integers(0, 2**32 - 1))
def test_an_address_within_an_ipv6_address_is_judged_as_itself(address: int) -> None:
    meant = ipaddress.IPv4Address(address)
    within = [
        ipaddress.IPv6Address(0xFFFF << 32 | address),
        ipaddress.IPv6Address(0x2002 << 112 | address << 80 | 1),
        ipaddress.IPv6Address(0x64FF9B << 96 | address),
    ]
    for outer in within:
        assert is_global(outer) == is_global(meant), outer


@given(st.integers(0, 2**32 - 1))
def test_nothing_that_python_calls_private_is_taken_for_global(address: int) -> None:
    meant = ipaddress.IPv4Address(address)
    if meant.is_private or meant.is_multicast or meant.is_reserved or meant.is_link_local:
        assert not is_global(meant)


@given(st.text(max_size=60))
def test_whatever_is_accepted_is_accepted_again_unchanged(text: str) -> None:
    for url in (f"http://{text}", f"http://{text}/", f"https://example.org/{text}"):
        try:
            kept = accept(url, RULES)
        except BadUrl:
            continue
        assert accept(kept, TargetRules(max_chars=8192, own=RULES.own)) == kept
