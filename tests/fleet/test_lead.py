"""One download per file in the whole fleet, as PostgreSQL's advisory locks say who."""

import os
import signal
import threading
from contextlib import closing

import fleet_equipment
import pytest
from fleet_equipment import SECRET, SMALL, Wire
from support import FILE, REPO, Later, finish, pattern

from model_cache.download.turn import Absence
from model_cache.fleet.postgres import PostgresFlight, number
from model_cache.fleet.protocols import EngineError
from stress.fleet.engines import wait_until

FETCH = f"""
import hashlib
print(hashlib.sha256(cache.fetch({REPO!r}, {FILE!r}).read_bytes()).hexdigest())
"""


class Told(fleet_equipment.Told):
    """Knows when its fetch waits for another host, and keeps the warnings."""

    def __init__(self):
        super().__init__()
        self.waits = threading.Event()

    def waiting(self, name, holder, done, total, seconds):
        """It waits."""
        if holder == "another host":
            self.waits.set()


@pytest.fixture
def own_postgres():
    """A PostgreSQL that a test may hang or kill."""
    engine = fleet_equipment.Postgres()
    try:
        engine.run()
        yield engine
    finally:
        engine.stop()


@pytest.fixture
def fetches():
    """Begins a fetch in a thread; the threads end with the test."""
    threads = []

    def begin(cache, told):
        found = {}

        def fetch():
            found["path"] = cache.fetch(REPO, FILE, progress=told)

        threads.append(threading.Thread(target=fetch))
        threads[-1].start()
        return threads[-1], found

    yield begin
    for thread in threads:
        thread.join(60)


def go_on():
    """Wait as long as it takes."""
    return True


def test_each_file_is_downloaded_once_in_a_fleet(bucket, postgres, spawn, hub, tmp_path, environ):
    """Four hosts with four processes each have a file by one download: the Hub sends its bytes once."""
    data = pattern(24_000_000)
    hub.add_repo(REPO, {FILE: data})
    environ |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    # Of several connections each is sent what it does not come to read, on a machine so busy that there are several.
    settings = {"tier": bucket.address, "lead": postgres.address, "connections": 1}
    started = [spawn(FETCH, root=str(tmp_path / f"host{number % 4}"), settings=settings) for number in range(16)]
    assert len({finish(process, 110) for process in started}) == 1
    assert hub.body_bytes(FILE) == len(data)


def test_who_leads_is_followed_when_it_is_killed(postgres, spawn, host, hub, data, tmp_path, shelf, fetches):
    """When the process that leads is killed, a host that waits leads next, and has right bytes."""
    settings = {"tier": f"file://{shelf}", "lead": postgres.address}
    held = hub.hold(FILE, after=1_000_000)
    leader = spawn(FETCH, root=str(tmp_path / "leader"), settings=settings)
    held.wait_for()
    told = Told()
    thread, found = fetches(host("second", lead=postgres.address), told)
    assert told.waits.wait(30)
    leader.send_signal(signal.SIGKILL)
    hub.release()
    thread.join(60)
    assert found["path"].read_bytes() == data


@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_database_that_fails_in_mid_wait(fault, own_postgres, host, hub, data, fetches):
    """A host whose database hangs, or is killed, while it waits goes alone."""
    with closing(PostgresFlight(own_postgres.address).lead(object_name(data), go_on)) as other:
        assert other.held
        told = Told()
        thread, found = fetches(host("second", lead=own_postgres.address, clock=Later()), told)
        assert told.waits.wait(30)
        getattr(own_postgres, fault)()
        thread.join(60)
        assert found["path"].read_bytes() == data
        assert any("goes alone" in message for message in told.warnings)
        if fault == "hang":
            own_postgres.go_on()


def object_name(data):
    """The name of the object that is led."""
    import hashlib

    from model_cache.fleet import objects

    return objects.of_bytes(hashlib.sha256(data).hexdigest(), None)


def test_database_that_is_down_is_left_alone(host, hub, data):
    """A host whose database is down goes alone, says so once, and then does not ask for a while."""
    told, first = Told(), host("first", lead=f"postgresql://fleet:{SECRET}@127.0.0.1:9/x")
    assert first.fetch(REPO, FILE, progress=told).read_bytes() == data
    assert first.fetch(REPO, SMALL, progress=told).read_bytes()
    (message,) = told.warnings
    assert "goes alone" in message
    assert SECRET not in message


def test_who_waited_finds_the_object_and_does_not_lead(postgres, host, hub, data, shelf, fetches):
    """A host that waited, and finds the object then, asks no Hub, and has let the lead go before it reads."""
    first = host("first")
    first.fetch(REPO, FILE)
    assert first.wait_for_uploads(60) == 0
    hub.reset()
    flight, name = PostgresFlight(postgres.address), object_name(data)
    (shelf / name).rename(shelf / "aside")
    other = flight.lead(name, go_on)
    told, seen = Told(), []

    def look(step):
        if step == "tier:write" and not seen:
            lead = flight.lead(name, go_on)
            seen.append(lead.held)
            lead.release()

    thread, found = fetches(host("second", lead=postgres.address, step=look), told)
    assert told.waits.wait(30)
    (shelf / "aside").rename(shelf / name)
    other.release()
    thread.join(60)
    assert found["path"].read_bytes() == data
    assert seen == [True]
    assert hub.body_bytes() == 0


def test_those_who_are_deceived_behind_the_lead_do_not_all_go_to_the_hub(postgres, host, hub, data, shelf, fetches):
    """Hosts that waited for what turns out to be damaged have another turn: one of them replaces it, the others read that."""
    name, told = object_name(data), [Told() for _ in range(3)]
    other = PostgresFlight(postgres.address).lead(name, go_on)
    begun = [fetches(host(f"host{number}", lead=postgres.address), one) for number, one in enumerate(told)]
    assert all(one.waits.wait(30) for one in told)
    damaged = shelf / name
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.with_name("whole").write_bytes(data[::-1])
    damaged.with_name("whole").rename(damaged)
    other.release()
    for thread, found in begun:
        thread.join(60)
        assert found["path"].read_bytes() == data
    assert hub.body_gets(FILE) == 1
    assert any("has other bytes" in message for one in told for message in one.warnings)


def test_who_waits_looks_for_itself(postgres, host, hub, data, shelf, fetches):
    """A host that waits has the object as soon as it is there, although its turn has not come."""
    first = host("first")
    first.fetch(REPO, FILE)
    assert first.wait_for_uploads(60) == 0
    hub.reset()
    name = object_name(data)
    (shelf / name).rename(shelf / "aside")
    other = PostgresFlight(postgres.address).lead(name, go_on)
    told = Told()
    thread, found = fetches(host("second", lead=postgres.address), told)
    assert told.waits.wait(30)
    (shelf / "aside").rename(shelf / name)
    thread.join(60)
    assert found["path"].read_bytes() == data
    assert hub.body_bytes() == 0
    other.release()


def test_who_is_deceived_in_a_wait_has_another_turn(postgres, host, hub, data, shelf, fetches):
    """Of hosts that waited, and were all sent wrong bytes, one downloads and replaces the object for the others."""
    name = object_name(data)
    other = PostgresFlight(postgres.address).lead(name, go_on)
    told = [Told() for _ in range(3)]
    begun = [fetches(host(f"host{number}", lead=postgres.address), one) for number, one in enumerate(told)]
    assert all(one.waits.wait(30) for one in told)
    (shelf / name).parent.mkdir(parents=True, exist_ok=True)
    (shelf / "aside").write_bytes(bytes(len(data)))
    (shelf / "aside").rename(shelf / name)
    wait_until(lambda: all(one.warnings for one in told))
    other.release()
    for thread, found in begun:
        thread.join(60)
        assert found["path"].read_bytes() == data
    assert hub.body_gets(FILE) == 1


def test_nobody_waits_behind_a_tier_that_fails(wire, bucket, postgres, host, hub, data, fetches):
    """A host that waits notices that the tier has gone, and goes alone although another one leads on."""
    other = PostgresFlight(postgres.address).lead(object_name(data), go_on)
    told = Told()
    thread, found = fetches(host("second", tier=bucket.address, lead=postgres.address), told)
    assert told.waits.wait(30)
    wire.cut()
    wire.close()
    thread.join(60)
    assert found["path"].read_bytes() == data
    other.release()


def test_wait_is_bounded(postgres, host, hub, data):
    """Who has waited for `lock_timeout` while another host leads goes alone."""
    other = PostgresFlight(postgres.address).lead(object_name(data), go_on)
    second = host("second", lead=postgres.address, lock_timeout="1s")
    assert second.fetch(REPO, FILE).read_bytes() == data
    other.release()


def test_lead_is_held_until_the_upload_is_done(postgres, host, hub, data):
    """Nobody else leads before the object of who downloaded is in the tier."""
    uploading, done = threading.Event(), threading.Event()

    def step(name):
        if name == "tier:offer":
            uploading.set()
            assert done.wait(60)

    first = host("first", lead=postgres.address, step=step)
    first.fetch(REPO, FILE)
    assert uploading.wait(30)
    looks = iter((True, True, False))
    other = PostgresFlight(postgres.address).lead(object_name(data), lambda: next(looks, False))
    assert not other.held
    done.set()
    assert first.wait_for_uploads(60) == 0
    other = PostgresFlight(postgres.address).lead(object_name(data), go_on)
    assert other.held
    other.release()


def test_server_is_told_to_look_for_dead_leaders(postgres):
    """The server asks whether a session's host is alive after 5 s and three times every 2 s, and waits as long for it."""
    lead = PostgresFlight(postgres.address).lead("anything", go_on)
    connection = lead._connection
    names = (
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_keepalives_count",
        "tcp_user_timeout",
        "statement_timeout",
    )
    assert [connection.execute(f"SHOW {name}").fetchone()[0] for name in names] == ["5", "2", "3", "11000", "0"]
    lead.release()


def test_forked_child_does_not_keep_a_lead(postgres, spawn, hub):
    """The lead of a process that is killed is free although its forked child lives on."""
    code = f"""
    import time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from model_cache.fleet.postgres import PostgresFlight
    lead = PostgresFlight({postgres.address!r}).lead("mine", lambda: True)
    if not (child := os.fork()):
        sys.stdin.read()
        os._exit(0)
    print(lead.held, flush=True)
    sys.stdin.read()
    """
    process = spawn(code)
    assert process.stdout.readline().strip() == "True"
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    lead = PostgresFlight(postgres.address).lead("mine", go_on)
    assert lead.held
    lead.release()


def test_wrong_password_is_not_repeated(postgres):
    """A database that refuses says so without the password."""
    address = postgres.address.replace(SECRET, "hunter2")
    with pytest.raises(EngineError) as caught:
        PostgresFlight(address).lead("anything", go_on)
    assert "hunter2" not in str(caught.value)


def test_database_that_hangs_from_the_start(own_postgres, host, hub, data):
    """A database that takes connections and answers nothing costs a time-out, and the host goes alone."""
    wire = Wire(own_postgres.port)
    own_postgres.hang()
    address = own_postgres.hasty.replace(str(own_postgres.port), str(wire.port))
    first = host("first", lead=address)
    assert first.fetch(REPO, FILE).read_bytes() == data
    connections = wire.connections
    assert connections > 0
    assert first.fetch(REPO, SMALL).read_bytes()
    assert wire.connections == connections
    wire.close()


def test_keys_are_64_bits_with_a_sign():
    """A key is a number that PostgreSQL takes, and the same on each host."""
    assert number("v1/sha256/ab/abc") == number("v1/sha256/ab/abc")
    assert all(-(2**63) <= number(str(key)) < 2**63 for key in range(100))


@pytest.mark.parametrize(
    ("losses", "left"),
    [
        ([(0, 0), (1, 3), (4, 7)], [False, False, False]),
        ([(0, 0), (1, 3), (4, 7), (8, 10)], [False, False, False, True]),
        ([(0, 0), (1, 100), (101, 103), (104, 107), (108, 110)], [False, False, False, False, True]),
    ],
    ids=["comes back", "stays away", "comes back and goes away again"],
)
def test_database_has_eight_seconds_to_come_back(losses, left):
    """Who lost a database asks it for eight seconds more, and has them anew where a long wait shows that it was back."""
    absence = Absence()
    assert [absence.is_too_long(asked, lost) for asked, lost in losses] == left
