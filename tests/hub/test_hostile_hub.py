"""A Hub that lies, case by case: bounded in time, memory and disk, with one exact line, and nothing published."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hub_equipment import COMMIT, message

from model_cache.errors import DownloadError
from model_cache.hub.addresses import Zone, allows, zone_of
from stress.hostile import inward
from stress.hostile.__main__ import CASES
from stress.hostile.trial import AT_ONCE, run

AHEAD = 2 * AT_ONCE  # cases that are tried before a test asks for them


class Trials:
    """Tries cases in their order, some ahead of who asks: of tests that are dealt out to several processes each has a part.

    Those that wait for time-outs are begun at once, since they take long and hardly any work.
    """

    def __init__(self, cases):
        self._cases, self._begun = cases, {}
        self._pools = {waits: ThreadPoolExecutor(AT_ONCE) for waits in (True, False)}
        self._begin(case for case in cases if case.timeout is not None)

    def of(self, case):
        """What was seen."""
        at = next(number for number, one in enumerate(self._cases) if one is case)
        self._begin(self._cases[at : at + AHEAD])
        return self._begun[id(case)].result()

    def close(self):
        """Try no more."""
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)

    def _begin(self, cases):
        for case in cases:
            if id(case) not in self._begun:
                self._begun[id(case)] = self._pools[case.timeout is not None].submit(run, case)


@pytest.fixture(scope="module")
def trials(request):
    """The cases that are to be tested."""
    made = Trials([item.callspec.params["case"] for item in request.session.items if item.originalname == LIES])
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}, {case.stage}: {case.name}")
def test_a_lie_does_no_harm(trials, case):
    """The command ends with the code, the line and the hint of the table; at most 100 MiB of memory, no byte but the promised."""
    assert trials.of(case).faults == ()


LIES = test_a_lie_does_no_harm.__name__


def test_a_redirect_does_not_lead_inside():
    """Whatever name or spelling it has, an address further inside than the endpoint gets no request; one beside it does."""
    if why_not := inward.lacking():
        pytest.skip(why_not)
    seen = inward.run_apart()
    assert {one.name: one.faults for one in seen if one.faults} == {}
    assert len(seen) > 25


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("cdn.example", None),
        ("8.8.4.4", Zone.PUBLIC),
        ("[2001:4860:4860::8844]", Zone.PUBLIC),
        ("10.0.0.1", Zone.PRIVATE),
        ("198.18.0.1", Zone.PRIVATE),
        ("[fd00::1]", Zone.PRIVATE),
        ("0x08080404", Zone.PRIVATE),  # public, but who would write it so?
        ("localhost.", Zone.LOOPBACK),
        ("A.LOCALHOST", Zone.LOOPBACK),
        ("127.0.0.1.", Zone.LOOPBACK),
        ("0", Zone.LOOPBACK),
        ("0.0.0.0", Zone.LOOPBACK),
        ("[::]", Zone.LOOPBACK),
        ("0177.1", Zone.LOOPBACK),
        ("[::127.0.0.1]", Zone.LOOPBACK),
        ("[64:ff9b::7f00:1]", Zone.LOOPBACK),
        ("[2002:7f00:1::]", Zone.LOOPBACK),
        ("169.254.1.1", Zone.LINK),
        ("[fe80::1%eth0]", Zone.LINK),
        ("[2002:a9fe:a9fe::]", Zone.LINK),
        ("100.100.100.200", Zone.LINK),
        ("[fd00:ec2::254]", Zone.LINK),
        ("224.0.0.1", Zone.NOWHERE),
        ("255.255.255.255", Zone.NOWHERE),
        ("1.2.3.4.5", Zone.NOWHERE),
        ("999999999999", Zone.NOWHERE),
    ],
)
def test_every_spelling_of_an_address_has_the_zone_it_leads_to(host, zone):
    """What the C library takes for an address is one, and addresses within addresses count as the inner one."""
    assert zone_of(host) is zone


def test_who_may_lead_where():
    """Outwards and sideways, never inwards; to a link-local address only from one, and nowhere from nowhere."""
    reach = {near: {far for far in Zone if allows(near, far)} for near in (None, *Zone)}
    assert reach == {
        None: {Zone.PUBLIC},
        Zone.PUBLIC: {Zone.PUBLIC},
        Zone.PRIVATE: {Zone.PUBLIC, Zone.PRIVATE},
        Zone.LOOPBACK: {Zone.PUBLIC, Zone.PRIVATE, Zone.LOOPBACK},
        Zone.LINK: {Zone.PUBLIC, Zone.PRIVATE, Zone.LINK},
        Zone.NOWHERE: {Zone.PUBLIC},
    }
    assert all(allows(near, None) for near in reach)


def test_by_a_proxy_what_is_written_is_judged(serve, connect, monkeypatch):
    """The proxy looks names up, and nobody here sees what they stand for: an address is refused all the same, a name is not."""
    for name in ("http_proxy", "all_proxy", "no_proxy", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    proxy = serve(b"")
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    client = connect("http://hub.invalid")
    asked = ("model", "owner/name", COMMIT, "f")

    def lead(target):
        def reply(request, connection):
            there = request.target.startswith(target)
            connection.sendall(message(200, body=b"xyz") if there else message(302, {"Location": f"{target}/x"}))
            return True

        return reply

    proxy.reply = lead("http://10.9.9.9")
    with pytest.raises(DownloadError, match=r"private address 10\.9\.9\.9, from a public endpoint"):
        client.open_body(*asked)
    proxy.reply = lead("http://inner.example")
    with client.open_body(*asked) as body:
        assert body.total == 3
    assert [one.target for one in proxy.asked[-2:]] == [
        f"http://hub.invalid/owner/name/resolve/{COMMIT}/f",
        "http://inner.example/x",
    ]


def test_a_connection_serves_again_after_chunks(serve, connect):
    """A body in chunks that was read to its end leaves the connection usable."""
    answer = message(200, {"Transfer-Encoding": "chunked"}, b"3\r\nxyz\r\n0\r\n\r\n", length=False)
    server = serve(answer)
    client = connect(server.url)
    for _ in range(3):
        with client.open_body("model", "owner/name", COMMIT, "f") as body:
            view = memoryview(bytearray(10))
            assert [body.readinto(view), body.readinto(view)] == [3, 0]
    assert len({asked.peer for asked in server.asked}) == 1


def test_a_slow_line_is_no_drip(serve, connect):
    """Bytes that come one by one, with pauses, are taken as long as a kibibyte comes in six time-outs."""
    box = []

    def reply(_asked, connection):
        connection.sendall(message(200, {"Content-Length": "4000"}))
        for _ in range(40):
            connection.sendall(b"x" * 100)
            box[0].released.wait(0.02)
        return True

    box.append(serve(reply))
    kept, view = 0, memoryview(bytearray(4000))
    with connect(box[0].url, download_timeout=30).open_body("model", "owner/name", COMMIT, "f") as body:
        while count := body.readinto(view):
            kept += count
    assert kept == 4000
