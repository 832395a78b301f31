"""Gated files and the bucket: who had them with a token shares them with hosts, and not with a group that sends none."""

import pytest
from support import FILE, REPO, pattern

from model_cache import AccessError

TOKEN = "hf_of_tests"


@pytest.fixture
def gated(hub, host):
    """A gated repo that a first host has fetched, with its token: its commit."""
    hub.add_repo(REPO, {FILE: pattern(200_000)}, gated=True)
    first = host("first", token=TOKEN)
    first.fetch_repo(REPO)
    assert first.wait_for_uploads(60) == 0
    return hub.store.find("model", REPO).refs["main"]


def test_hosts_with_private_roots_share_what_is_gated(gated, host):
    """A host's own root has a gated file of a pinned commit from the bucket, without a question to the Hub."""
    second = host("second", endpoint="http://127.0.0.1:9")
    assert second.fetch(REPO, FILE, revision=gated).read_bytes() == pattern(200_000)


@pytest.mark.parametrize("whole", [True, False])
def test_group_that_sends_no_token_does_not_get_what_is_gated(gated, host, whole):
    """A root that a group shares does not take the bucket's word for what a token may have been needed for."""
    group = host("group", sharing="group")
    with pytest.raises(AccessError):
        group.fetch_repo(REPO, revision=gated) if whole else group.fetch(REPO, FILE, revision=gated)


def test_group_shares_what_everybody_may_read(hub, host):
    """What was had without a token comes to a group's root from the bucket, without a question to the Hub."""
    hub.add_repo(REPO, {FILE: pattern(200_000)})
    first = host("first")
    first.fetch_repo(REPO)
    assert first.wait_for_uploads(60) == 0
    commit = hub.store.find("model", REPO).refs["main"]
    group = host("group", sharing="group", endpoint="http://127.0.0.1:9")
    assert (group.fetch_repo(REPO, revision=commit) / FILE).read_bytes() == pattern(200_000)
