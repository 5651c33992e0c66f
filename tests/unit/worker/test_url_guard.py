"""Addresses that are out of bounds, and URLs that are rejected for their own text."""

from ipaddress import ip_address, ip_network

import pytest
from yarl import URL

from extproc.worker.url_guard import LONGEST_URL, Guard, RejectedError, check, forbidden, parse

KINDS = {
    "169.254.169.254": "cloud metadata",
    "169.254.170.2": "cloud metadata",
    "169.254.170.23": "cloud metadata",
    "fd00:ec2::254": "cloud metadata",
    "fd00:ec2::23": "cloud metadata",
    "fd20:ce::254": "cloud metadata",
    "168.63.129.16": "cloud metadata",
    "100.100.100.200": "cloud metadata",
    "192.0.0.192": "cloud metadata",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "::": "unspecified",
    "127.0.0.1": "loopback",
    "127.255.255.255": "loopback",
    "::1": "loopback",
    "10.0.0.0": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "fd12:3456::1": "private",
    "fec0::1": "private",
    "64:ff9b:1::a00:1": "private",
    "100.64.0.1": "carrier-private",
    "100.127.255.255": "carrier-private",
    "169.254.0.1": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "::ffff:127.0.0.1": "IPv4-in-IPv6",
    "::ffff:8.8.8.8": "IPv4-in-IPv6",
    "::127.0.0.1": "IPv4-in-IPv6",
    "::ffff:0:127.0.0.1": "IPv4-in-IPv6",
    "2002:7f00:1::1": "IPv4-in-IPv6",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "IPv4-in-IPv6",
    "192.0.2.1": "documentation",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "192.0.0.9": "reserved",
    "192.88.99.1": "reserved",
    "198.19.255.255": "reserved",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "2001:1::1": "reserved",
    "100::1": "reserved",
    "5f00::1": "reserved",
    "4000::1": "reserved",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::169.254.169.254": "cloud metadata",
}

PUBLIC = ["8.8.8.8", "172.32.0.1", "100.128.0.1", "169.253.255.255", "126.255.255.255", "128.0.0.1", "223.255.255.255"]
PUBLIC += ["2606:4700::1111", "2001:4860:4860::8888", "2600:1f18::1", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize(("address", "kind"), KINDS.items())
def test_an_internal_address_is_out_of_bounds(address, kind):
    assert forbidden(ip_address(address)) == kind


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_in_bounds(address):
    assert forbidden(ip_address(address)) is None
    assert Guard()(ip_address(address)) is None


def test_a_guard_allows_configured_addresses_and_no_others():
    guard = Guard(allow=(ip_network("127.0.0.1/32"),))
    assert guard(ip_address("127.0.0.1")) is None
    assert guard(ip_address("127.0.0.2")) == "loopback"
    assert guard(ip_address("::ffff:127.0.0.1")) == "IPv4-in-IPv6"


@pytest.mark.parametrize("address", ["8.8.8.8", "64:ff9b::8.8.8.8", "2600:1f18::1"])
def test_a_guard_denies_configured_addresses(address):
    guard = Guard(deny=(ip_network("8.8.8.0/24"), ip_network("2600:1f18::/32")))
    assert guard(ip_address(address)) == "denied"
    assert guard(ip_address("8.8.4.4")) is None


def passes(text, **options):
    url = parse(text)
    check(url, forbidden, **options)
    return url


@pytest.mark.parametrize(
    "text",
    [
        "http://images.example/a.png",
        "HTTPS://Images.Example/a.png",
        "https://images.example:443/",
        "https://images.example:80/",
        "https://images.example",
        "https://images.example./a",
        "https://my_bucket.s3.amazonaws.com/x",
        "https://bücher.example/ä.png",
        "https://8.8.8.8/a.png",
        "https://[2606:4700::1111]/a.png",
        "https://[2606:4700::1111]:443/a.png",
        "https://1and1.example/",
        "https://images.example/?u=http://10.0.0.1/@x",
    ],
)
def test_a_plain_url_is_fetched(text):
    assert passes(text)


REJECTED = {
    "Only http and https": [
        "ftp://images.example/a",
        "file:///etc/passwd",
        "gopher://images.example/",
        "//images.example/a",
        "images.example/a",
        "",
        "unix:///var/run/docker.sock",
        "s3://bucket/key",
    ],
    "user name or a password": [
        "http://user@images.example/",
        "http://:secret@images.example/",
        "http://images.example:80@evil.example/",
        "http://8.8.8.8@127.0.0.1/",
    ],
    "from port 80 or 443 only": ["http://images.example:22/", "http://images.example:8080/", "http://8.8.8.8:0/"],
    "not a URL that can be read": [
        "http://images.example:99999/",
        "http://images.example:x/",
        "http://[::1",
        "http://images.example\\@127.0.0.1/",
        "http://images.example\r\nhost: evil/",
        "http://a" + "ä" * 80 + ".example/",
    ],
    "not a proper host name": [
        "http:///a",
        "http:images.example",
        "http://images..example/",
        "http://.example/",
        "http://images.example../",
        "http://images%2eexample/",
        "http://im ages.example/",
        "http://-a.example/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 130 + "example/",
    ],
    "looks like an IP address": [
        "http://2130706433/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.0x1/",
        "http://127.0.0.1./",
        "http://8.8.8.8./",
        "http://1.2.3.4.5/",
        "http://a.1/",
        "http://127%2e0.0.1/",
    ],
    "(loopback)": [
        "http://127.0.0.1/",
        "http://127.0.0.1:80/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://[64:ff9b::7f00:1]/",
    ],
    "(IPv4-in-IPv6)": ["http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[2002:a00:1::]/"],
    "(cloud metadata)": ["http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/"],
    "could not be found on the public internet": [
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://kubernetes/",
        "http://api.default.svc.cluster.local/",
        "http://ip-10-0-0-1.ec2.internal./",
        "http://metadata.google.internal/",
        "http://router.home.arpa/",
        "http://home.arpa/",
    ],
}


@pytest.mark.parametrize(("why", "text"), [(why, text) for why, texts in REJECTED.items() for text in texts])
def test_a_forbidden_url_is_rejected(why, text):
    with pytest.raises(RejectedError) as raised:
        passes(text)
    assert why in raised.value.reason
    assert "data: URL" in raised.value.reason
    assert raised.value.code == "invalid_image_url"


@pytest.mark.parametrize("zone", ["%eth0", "%25eth0"])
def test_an_address_with_a_zone_is_rejected(zone):
    with pytest.raises(RejectedError, match="zone"):
        passes(f"http://[2606:4700::1111{zone}]/")


def test_other_ports_by_leave():
    assert passes("http://images.example:8080/", ports=frozenset({8080}))
    with pytest.raises(RejectedError, match="port 8080 only"):
        passes("http://images.example/", ports=frozenset({8080}))


def test_a_url_of_any_length_is_not_parsed():
    room = LONGEST_URL - len("http://a.example/")
    assert passes("http://a.example/" + "x" * room)
    with pytest.raises(RejectedError, match="more than 8192 characters"):
        parse("http://a.example/" + "x" * (room + 1))


@pytest.mark.parametrize("prefix", ["http://", " \t https://", "http://user@", "//"])
@pytest.mark.parametrize("host", ["\ufdfa" * 15, "\ufdfa" * 8_000, "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 254])
def test_a_long_host_that_is_not_ascii_is_not_made_so(prefix, host, monkeypatch):
    """Each of these letters stands for 18, and yarl takes half a second for as many as a URL may have."""
    monkeypatch.setattr("yarl._url._idna_encode", lambda host: pytest.fail("it was"))
    with pytest.raises(RejectedError, match="host has more than 253"):
        parse(prefix + host + "/a.png", URL("https://example.com/"))


@pytest.mark.parametrize("path", ["/a%2Fb%41%7e?sig=%2b+%2C,%3d&u=a/b:c", "/?a=b%20c", "/%c3%bc", "/a//b/../c;v=1"])
def test_a_well_formed_url_is_kept_byte_for_byte_since_it_may_be_signed(path):
    assert parse("https://images.example" + path).raw_path_qs == path


def test_another_is_quoted():
    assert parse("https://images.example/a b/ü?q=<ü>").raw_path_qs == "/a%20b/%C3%BC?q=%3C%C3%BC%3E"
    assert parse("https://images.example/100%").raw_path_qs == "/100%25"
    assert parse("https://bücher.example/").raw_host == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("/b%2F?x=%41", "https://images.example/b%2F?x=%41"),
        ("b", "https://images.example/folder/b"),
        ("?q", "https://images.example/folder/a?q"),
        ("//cdn.example/b", "https://cdn.example/b"),
        ("http://10.0.0.1/", "http://10.0.0.1/"),
        ("/ü", "https://images.example/%C3%BC"),
        ("", "https://images.example/folder/a"),
    ],
)
def test_a_redirect_is_resolved_against_its_own_url(location, there):
    assert str(parse(location, parse("https://images.example/folder/a"))) == there
