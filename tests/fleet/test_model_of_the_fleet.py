"""The model of hosts that share a tier, and what the code does: one host alone takes steps of the model, in its order."""

import pytest
from support import FILE, REPO

from model_cache.fleet import objects
from stress.model import fleet
from stress.model.conformance import refused
from stress.model.fleet import BAD, GOOD, NONE, ODD, Fleet
from stress.site import digest

NAMES = {name for at in fleet.STEPS for name in fleet.names(at)}
OBJECTS = {GOOD: lambda data: data, BAD: lambda data: data[::-1], ODD: lambda data: data[:-1]}


def recorded(host, data, shelf, content, **settings):
    """The names that a host passes which finds this in the tier."""
    if content != NONE:
        path = shelf / objects.of_bytes(digest(data), None)
        path.parent.mkdir(parents=True)
        path.write_bytes(OBJECTS[content](data))
    steps = []
    cache = host("one", connections=1, step=steps.append, **settings)
    assert cache.fetch(REPO, FILE).read_bytes() == data
    assert cache.wait_for_uploads(60) == 0
    return [name for name in steps if name in NAMES]


@pytest.mark.parametrize("content", [NONE, GOOD, BAD, ODD])
def test_a_host_alone_takes_the_steps_of_the_model(host, data, shelf, content):
    """Whatever is in the tier, the names that a host passes are those of a way through the model without a lead."""
    assert refused(Fleet("one", hosts=1, bucket=content, leads=False), recorded(host, data, shelf, content)) is None


@pytest.mark.parametrize("content", [NONE, GOOD, BAD])
def test_a_host_that_leads_takes_the_steps_of_the_model(postgres, host, data, shelf, content):
    """With somebody who says who leads it looks once more behind the lead, and the model does as well."""
    steps = recorded(host, data, shelf, content, lead=postgres.address)
    assert refused(Fleet("one", hosts=1, bucket=content), steps) is None
    if content == BAD:
        assert refused(Fleet("one", hosts=1, bucket=BAD, mutant="no look behind the lead"), steps) is not None
