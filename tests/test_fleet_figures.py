"""The simulated fleet: the package's own code decides, time and network are virtual; nothing here takes real time."""

from pathlib import Path

import pytest

from bench.fleet import __main__ as pages
from bench.fleet import figures
from bench.fleet.network import Link
from bench.fleet.plan import FOREVER, GB, WAYS, Plan
from bench.fleet.site import run
from bench.fleet.virtual import Line, Time

NO_TIER, BUCKET, LEAD = WAYS
SMALL = Plan(30, LEAD)
FAULTS = {
    "nothing": {},
    "processes die": {"dies": 0.4},
    "hosts die": {"dies": 0.4, "off": 1.0},
    "no bucket": {"bucket_down": (0.0, FOREVER)},
    "the bucket goes away": {"bucket_down": (70.0, 90.0)},
    "the bucket goes away while it is sent to": {"bucket_down": (20.0, 25.0)},
    "no database": {"lead_down": (0.0, FOREVER)},
    "the database goes away": {"lead_down": (20.0, 25.0)},
    "few connections": {"lead_connections": 5},
    "a lying bucket": {"warm": True, "lies": True},
    "everything": {"dies": 0.3, "off": 0.5, "bucket_down": (70.0, 90.0), "lead_down": (20.0, 25.0)},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", WAYS)
def test_every_process_is_handed_the_right_bytes_and_none_come_from_nowhere(way, fault):
    """What hosts received is what servers sent, by their own count and by the rates of their links over time."""
    plan = SMALL._replace(way=way, **FAULTS[fault])
    found = run(plan)
    assert (found.whole, found.finished) == (plan.hosts, plan.hosts * plan.processes)
    assert found.received == found.hub + found.bucket >= plan.hosts * plan.size
    assert found.carried == pytest.approx(found.hub + found.bucket + found.offered, rel=1e-9)
    assert (found.died > 0) == ("dies" in FAULTS[fault])


def test_a_seed_decides_a_run():
    """The same seed gives the same run to the last digit, another seed another one."""
    plan = SMALL._replace(dies=0.4, off=0.5)
    assert run(plan) == run(plan) != run(plan._replace(seed=2))


@pytest.mark.parametrize("hosts", [1, 10, 300])
def test_with_a_lead_the_fleet_takes_the_file_from_the_hub_once(hosts):
    """One body, however many hosts begin at one time; all others have it from the bucket."""
    plan = Plan(hosts, LEAD, spread=0.0)
    found = run(plan)
    assert (found.bodies, found.hub, found.offered) == (1, plan.size, plan.size)
    assert found.bucket == (hosts - 1) * plan.size


def test_without_a_lead_all_who_begin_before_the_first_is_done_ask_the_hub():
    """A bucket alone saves nothing where a fleet starts at one time, and nearly all where hosts come one by one."""
    at_once, apart = run(Plan(20, BUCKET, spread=0.0)), run(Plan(20, BUCKET, spread=7200.0))
    assert (at_once.bodies, at_once.bucket) == (20, 0)
    assert apart.bodies < 4
    assert run(Plan(20, NO_TIER)).bodies == 20


def test_hosts_that_find_the_file_and_its_record_ask_the_hub_nothing():
    """With a warm bucket and a pinned commit there are neither bytes nor requests."""
    found = run(Plan(20, BUCKET, warm=True))
    assert (found.hub, found.hub_requests) == (0, 0)


def test_a_damaged_copy_is_replaced_by_one():
    """Hosts that all found it damaged wait for the one of them who replaces it, and read that."""
    found = run(Plan(50, LEAD, warm=True, lies=True))
    assert (found.bodies, found.offered) == (1, found.hub)


def test_a_leader_that_dies_is_followed_by_one():
    """Each time a process dies with the lead one other takes it: transfers from the Hub never overlap."""
    found = run(Plan(50, LEAD, spread=0.0, dies=0.5))
    alone = Plan(1, LEAD).hub_host
    assert 1 < found.bodies < 20
    assert found.last > found.hub / alone


def test_of_a_host_one_process_downloads():
    """However many processes of a host ask, there is one body for each host."""
    assert run(Plan(10, NO_TIER, processes=8)).bodies == 10


def test_a_link_is_shared_alike_up_to_what_a_host_takes():
    """Two who share 100 have 50 each, the third 30 alone because it takes no more; all that was carried is counted."""
    time = Time()
    link, ends = Link(time, 100.0, 60.0), {}

    def carry(name, size):
        assert link.carry(size) == size
        ends[name] = time.time()

    time.start(lambda: carry("first", 100))
    time.start(lambda: carry("second", 160))
    time.start(lambda: carry("alone", 120), 10.0)
    time.run()
    assert ends == pytest.approx({"first": 2.0, "second": 3.0, "alone": 12.0})
    assert link.carried == pytest.approx(380)


def test_a_link_that_is_cut_says_how_much_came():
    """Whoever waits is told at once, and what came is counted as carried."""
    time = Time()
    link, found = Link(time, 100.0, 100.0), []
    time.start(lambda: found.append((link.carry(1000), time.time())))
    time.after(2.0, link.cut)
    time.run()
    assert found == [(200, 2.0)]
    assert link.carried == pytest.approx(200)


def test_a_process_that_waits_for_ever_is_found():
    """A run does not end as if all were well while somebody waits for what does not come."""
    time = Time()
    line = Line(time)

    def hold():
        with line.turn():
            time.leave()

    time.start(hold)
    with pytest.raises(RuntimeError, match="1 processes wait for ever"):
        time.run()


def test_the_page_shows_what_the_simulation_gives():
    """Its rows of up to a hundred hosts are made anew and compared; the others come from the same program."""
    page = pages.PAGE.read_text()
    rows = figures.table(figures.sweep([1, 10, 100]))
    assert len(rows) == 2 + 9
    assert "\n".join(rows) in page


def test_a_table_is_put_between_its_marks():
    """Writing a page twice is writing it once, and what stands around the table stays."""
    page = Path(pages.PAGE).read_text()
    once = pages.put(page, "sweep", ["| a |"])
    assert once == pages.put(once, "sweep", ["| a |"]) != page
    assert once.startswith(page[:200])
    assert once.endswith(page[-200:])


def test_the_picture_has_a_line_for_each_way_in_each_panel():
    """Nine lines inside the frame, and no value that is not there."""
    drawn = pages.drawn(figures.sweep([1, 10]))
    assert drawn.count("fill='none' stroke=") == 8  # without a tier nothing goes to or from a bucket
    assert drawn.count("<circle") == 8 * 2
    places = [float(text.split("'")[0]) for text in drawn.split("<circle cx='")[1:]]
    assert 0 < min(places) < max(places) < 960
    assert f"{5 * GB // GB} GB" in drawn
