"""Where small files are served, as one redirect told: guessed for others of the commit, and never believed."""

from urllib.parse import quote, urlencode

from hypothesis import given
from hypothesis import strategies as st

from model_cache.hub.failures import Target
from model_cache.hub.shortcut import Shortcuts

COMMIT, ETAG, OTHER = "c" * 40, "a" * 40, "b" * 40
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).map(
    lambda text: text.strip("/")
)


def target(filename, commit=COMMIT):
    """A file of the repo."""
    return Target("http://127.0.0.1:1", "model", "owner/name", commit, filename)


def served(filename, etag, commit=COMMIT):
    """Where the Hub serves it: the address that was asked for, and the etag, are the query."""
    key = urlencode({f"/owner/name/resolve/{commit}/{filename}": "", "etag": f'"{etag}"'})
    return f"http://127.0.0.1:1/api/resolve-cache/models/owner/name/{commit}/{quote(filename)}?{key}"


@given(first=NAMES.filter(bool), second=NAMES.filter(bool))
def test_what_one_file_told_fits_every_other(first, second):
    """Whatever characters their names have."""
    shortcuts = Shortcuts()
    shortcuts.learn(target(first), ETAG, served(first, ETAG))
    assert shortcuts.address(target(second), OTHER) == served(second, OTHER)


def test_another_commit_is_not_guessed():
    """Nor is a large file, whose etag is a sha256, nor one of which nobody knows the etag."""
    shortcuts = Shortcuts()
    shortcuts.learn(target("a.json"), ETAG, served("a.json", ETAG))
    assert shortcuts.address(target("b.json", "d" * 40), OTHER) is None
    assert shortcuts.address(target("b.bin"), "e" * 64) is None
    assert shortcuts.address(target("b.json"), None) is None


def test_an_address_that_does_not_follow_from_the_name_teaches_nothing():
    """A file that is served by a number, or another file's address."""
    shortcuts = Shortcuts()
    for url in ("http://127.0.0.1:1/files/17", served("b.json", ETAG), "http://127.0.0.1:1/x?a.json"):
        shortcuts.learn(target("a.json"), ETAG, url)
        assert shortcuts.address(target("b.json"), OTHER) is None


def test_what_was_taken_back_is_not_learnt_again():
    """For this commit every file is asked for where it is promised."""
    shortcuts = Shortcuts()
    shortcuts.learn(target("a.json"), ETAG, served("a.json", ETAG))
    shortcuts.forget(target("b.json"))
    shortcuts.learn(target("a.json"), ETAG, served("a.json", ETAG))
    assert shortcuts.address(target("b.json"), OTHER) is None
