import pytest
from hypothesis import given
from hypothesis import strategies as st

from week01_http_server.transport.forwarded import HOPS_MAX, NOTHING, UNKNOWN, Origin, Trust

PEER = ("10.0.0.1", 40000)
TRUSTED = ("10.0.0.0/8", "2001:db8::/32", "unix")
CLIENT = ("203.0.113.9", 0)


def fields(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in pairs]


XFF = "x-forwarded-for"
CUSTOM: dict[str, tuple[list[tuple[str, str]], Origin]] = {
    "nothing said": ([], NOTHING),
    "one hop": ([(XFF, "203.0.113.9")], Origin(CLIENT)),
    "what the client wrote is not believed": ([(XFF, "10.9.9.9, 203.0.113.9")], Origin(CLIENT)),
    "trusted hops are passed over": ([(XFF, "6.6.6.6, 203.0.113.9, 10.0.0.7")], Origin(CLIENT)),
    "repeated fields are one list": (
        [(XFF, "6.6.6.6"), (XFF, "203.0.113.9"), (XFF, "10.0.0.7")],
        Origin(CLIENT),
    ),
    "all hops trusted: the first": ([(XFF, "10.0.0.9, 10.0.0.7")], Origin(("10.0.0.9", 0))),
    "with a port": ([(XFF, "203.0.113.9:5000")], Origin(("203.0.113.9", 5000))),
    "IPv6": ([(XFF, "2a00::1")], Origin(("2a00::1", 0))),
    "IPv6 with a port": ([(XFF, "[2a00::1]:5000")], Origin(("2a00::1", 5000))),
    "a trusted IPv6 hop": ([(XFF, "203.0.113.9, 2001:db8::5")], Origin(CLIENT)),
    "IPv4 mapped into IPv6 is IPv4": ([(XFF, "203.0.113.9, ::ffff:10.0.0.7")], Origin(CLIENT)),
    "no address at all": ([(XFF, "203.0.113.9, bogus")], Origin(UNKNOWN)),
    "an empty entry": ([(XFF, "10.0.0.9, ")], Origin(UNKNOWN)),
    "a port out of range": ([(XFF, "203.0.113.9:70000")], Origin(UNKNOWN)),
    "scheme and host": (
        [(XFF, "203.0.113.9"), ("x-forwarded-proto", "HTTPS"), ("x-forwarded-host", "a.org:8443")],
        Origin(CLIENT, "https", b"a.org:8443"),
    ),
    "a scheme for each hop": (
        [(XFF, "6.6.6.6, 203.0.113.9, 10.0.0.7"), ("x-forwarded-proto", "ftp, https, http")],
        Origin(CLIENT, "https"),
    ),
    "a scheme from the last proxy": (
        [(XFF, "203.0.113.9"), ("x-forwarded-proto", "http, https")],
        Origin(CLIENT, "https"),
    ),
    "a scheme alone": ([("x-forwarded-proto", "https")], Origin(None, "https")),
    "another scheme": ([("x-forwarded-proto", "gopher")], NOTHING),
    "a host that is none": ([("x-forwarded-host", "a b")], NOTHING),
    "a host with a path": ([("x-forwarded-host", "a.org/x")], NOTHING),
    "the other kind is not read": ([("forwarded", "for=6.6.6.6;proto=https")], NOTHING),
}

RFC: dict[str, tuple[list[str], Origin]] = {
    "nothing said": ([], NOTHING),
    "one hop": (["for=203.0.113.9;proto=https;host=a.org"], Origin(CLIENT, "https", b"a.org")),
    "names in any case": (["For=203.0.113.9;PROTO=https"], Origin(CLIENT, "https")),
    "quoted, with a port": (['for="[2a00::1]:5000"'], Origin(("2a00::1", 5000))),
    "quoted pairs": (['for="203.0\\.113.9"'], Origin(CLIENT)),
    "rightmost that is not ours": (
        ["for=6.6.6.6;proto=http, for=203.0.113.9;proto=https, for=10.0.0.3;proto=http"],
        Origin(CLIENT, "https"),
    ),
    "repeated fields": (["for=6.6.6.6", "for=203.0.113.9", "for=10.0.0.3"], Origin(CLIENT)),
    "spaces and empty elements": ([" for=203.0.113.9 ,, for=10.0.0.3 "], Origin(CLIENT)),
    "hidden": (["for=_SEVKISEK"], Origin(("_SEVKISEK", 0))),
    "hidden port": (['for="203.0.113.9:_x"'], Origin(CLIENT)),
    "unknown": (["for=6.6.6.6, for=unknown"], Origin(UNKNOWN)),
    "no for": (["by=10.0.0.3;proto=https"], Origin(UNKNOWN, "https")),
    "broken on the left": (["for=(, for=203.0.113.9"], Origin(CLIENT)),
    "broken at the end": (["for=203.0.113.9, for=("], Origin(UNKNOWN)),
    "an open quote": (['for="6.6.6.6, for=203.0.113.9'], Origin(CLIENT)),
    "an open quote before a proxy's": (
        ['for="6.6.6.6', 'for="[2a00::1]:5000"'],
        Origin(("2a00::1", 5000)),
    ),
    "broken, then only ours: not the client's word": (["for=(, for=10.0.0.3"], Origin(UNKNOWN)),
}


@pytest.mark.parametrize(("sent", "origin"), CUSTOM.values(), ids=CUSTOM.keys())
def test_x_forwarded_fields_of_a_trusted_peer(sent: list[tuple[str, str]], origin: Origin) -> None:
    assert Trust(TRUSTED).origin(PEER, fields(*sent)) == origin


@pytest.mark.parametrize(("sent", "origin"), RFC.values(), ids=RFC.keys())
def test_forwarded_of_a_trusted_peer(sent: list[str], origin: Origin) -> None:
    headers = fields(*(("forwarded", value) for value in sent), (XFF, "6.6.6.6"))
    assert Trust(TRUSTED, "forwarded").origin(PEER, headers) == origin


@pytest.mark.parametrize("kind", ["x-forwarded", "forwarded"])
@pytest.mark.parametrize("peer", [("203.0.113.1", 1), ("::1", 1), ("not an address", 1)])
def test_a_peer_that_is_not_trusted_says_nothing(kind: str, peer: tuple[str, int]) -> None:
    headers = fields((XFF, "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("x-forwarded-proto", "https"))
    assert Trust(TRUSTED, kind).origin(peer, headers) == NOTHING


def test_clients_of_a_unix_socket_are_trusted_only_by_name() -> None:
    headers = fields((XFF, "203.0.113.9"))
    assert Trust(["unix"]).origin(None, headers) == Origin(CLIENT)
    assert Trust(["10.0.0.0/8"]).origin(None, headers) == NOTHING


def test_a_star_trusts_everyone_and_believes_the_first_hop() -> None:
    headers = fields((XFF, "203.0.113.9, 6.6.6.6"))
    assert Trust(["*"]).origin(("1.1.1.1", 1), headers) == Origin(CLIENT)
    assert Trust(["*"]).origin(None, headers) == Origin(CLIENT)


def test_an_ipv4_peer_on_a_dual_stack_socket_is_that_ipv4_peer() -> None:
    assert Trust(["10.0.0.0/8"]).believes(("::ffff:10.1.2.3", 1))


def test_nobody_is_trusted_by_default() -> None:
    assert not Trust([])
    assert not Trust([]).believes(PEER)
    assert not Trust([]).believes(None)


def test_an_endless_list_is_read_up_to_a_limit() -> None:
    hops = ", ".join(f"10.0.{number // 256}.{number % 256}" for number in range(5000))
    origin = Trust(TRUSTED).origin(PEER, fields((XFF, hops)))
    assert origin.client == (f"10.0.{(5000 - HOPS_MAX) // 256}.{(5000 - HOPS_MAX) % 256}", 0)


@pytest.mark.parametrize("peer", ["10.0.0.1/8", "localhost", "", "10.0.0.0/33", "1.2.3"])
def test_a_peer_that_is_no_network_is_one_clear_line(peer: str) -> None:
    with pytest.raises(ValueError, match="trusted peer") as refused:
        Trust([peer])
    assert "\n" not in str(refused.value)


def test_fields_of_a_third_kind_are_one_clear_line() -> None:
    with pytest.raises(ValueError, match="none of x-forwarded, forwarded"):
        Trust([], "via")


@pytest.mark.parametrize("value", ["\n", "for=203.0.113.9\n", "for=203.0.113.9, \n"])
def test_a_line_feed_at_the_end_is_no_end(value: str) -> None:
    # The server lets none through; `$` would match in front of it, again and again.
    origin = Trust(TRUSTED, "forwarded").origin(PEER, fields(("forwarded", value)))
    assert origin.client == UNKNOWN


_LIKELY = st.text(st.sampled_from(list('for=prtohs;,"\\[]:_.1f2 \tu')), max_size=60)


@given(
    st.sampled_from(["x-forwarded", "forwarded"]),
    st.lists(
        st.one_of(_LIKELY, st.text(st.characters(max_codepoint=255), max_size=30)), max_size=4
    ),
    st.lists(_LIKELY, max_size=2),
)
def test_no_value_breaks_it_and_what_it_says_is_clean(
    kind: str, values: list[str], schemes: list[str]
) -> None:
    name = XFF if kind == "x-forwarded" else "forwarded"
    headers = fields(
        *((name, value) for value in values),
        *(("x-forwarded-proto", value) for value in schemes),
        *(("x-forwarded-host", value) for value in schemes),
    )
    origin = Trust(TRUSTED, kind).origin(PEER, headers)
    assert origin.scheme in (None, "http", "https")
    if origin.client is not None:
        assert origin.client[0].isascii()
        assert origin.client[0].isprintable()
        assert 0 <= origin.client[1] <= 65535


@given(st.lists(st.sampled_from(["6.6.6.6", "10.0.0.9", "bogus", "unknown", '"', "="]), max_size=6))
def test_whatever_a_client_writes_in_front_its_own_address_is_what_counts(
    forged: list[str],
) -> None:
    custom = fields((XFF, ", ".join([*forged, "203.0.113.9"])))
    assert Trust(TRUSTED).origin(PEER, custom).client == CLIENT
    rfc = fields(("forwarded", ", ".join([*(f"for={one}" for one in forged), "for=203.0.113.9"])))
    assert Trust(TRUSTED, "forwarded").origin(PEER, rfc).client == CLIENT
