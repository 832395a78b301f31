"""Forked children, systems without threads to give, and servers that keep to no protocol: none of them holds anybody up."""

import contextlib
import os
import socket
import threading

import pytest
from support import FILE, REPO, finish

from model_cache.fleet import objects
from model_cache.fleet.postgres import PostgresFlight
from model_cache.fleet.protocols import EngineError, NoLead
from model_cache.fleet.uploads import Uploads

END = b"Z\0\0\0\x05I"  # ReadyForQuery: https://www.postgresql.org/docs/current/protocol-message-formats.html
NOTICE = b"N\0\0\0\x15SNOTICE\0Mbusy\0\0\0"


def go_on():
    """Wait as long as it takes."""
    return True


class Proxy:
    """A port in front of a database; from the question for a lock on `answer` decides what its client is sent."""

    def __init__(self, target, answer):
        self._target, self._answer = target, answer
        self._asked, self._over = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        """Nothing is answered any more."""
        self._over.set()
        self._listener.close()

    def _serve(self):
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        threading.Thread(target=self._questions, args=(near, far), daemon=True).start()
        with contextlib.suppress(OSError), near, far:
            while not self._over.is_set() and (data := far.recv(65536)):
                if self._asked.is_set():
                    self._answer(near, data, self._over)
                else:
                    near.sendall(data)

    def _questions(self, near, far):
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                if b"pg_advisory_lock" in data:
                    self._asked.set()
                far.sendall(data)


def no_end(near, data, over):
    """Send all of an answer but its end."""
    near.sendall(data.removesuffix(END))
    over.wait(60)


def notices(near, _data, over):
    """Send notices and no answer."""
    while not over.wait(0.1):
        near.sendall(NOTICE)


@pytest.mark.parametrize("answer", [no_end, notices])
def test_database_that_never_comes_to_an_end_is_left(answer, postgres):
    """Who waits is asked whether to go on, and leaves, while a database sends an answer without end or notices alone."""
    proxy = Proxy(postgres.port, answer)
    looks = iter((True, True, False))
    address = postgres.address.replace(str(postgres.port), str(proxy.port))
    lead = PostgresFlight(address).lead("anything", lambda: next(looks))
    assert isinstance(lead, NoLead)
    proxy.close()


def test_database_that_only_sends_notices_is_taken_for_one_that_hangs(postgres):
    """What a database sends beside an answer does not make the wait for that longer."""
    proxy = Proxy(postgres.port, notices)
    address = postgres.address.replace(str(postgres.port), str(proxy.port))
    with pytest.raises(EngineError, match="no answer"):
        PostgresFlight(address).lead("anything", go_on)
    proxy.close()


def test_forked_child_without_a_tier_waits_for_no_leader(postgres, spawn, hub, data, shelf):
    """A child that does without the tier neither waits for another host nor leads, since it could share nothing."""
    import hashlib

    name = objects.of_bytes(hashlib.sha256(data).hexdigest(), None)
    other = PostgresFlight(postgres.address).lead(name, go_on)
    out = finish(
        spawn(
            f"""
            import warnings
            from model_cache.progress import Progress
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads

            class Told(Progress):
                def waiting(self, *_):
                    os._exit(3)

            cache.fetch({REPO!r}, "config.json")
            cache.wait_for_uploads()
            if (child := os.fork()) == 0:
                os._exit(0 if cache.fetch({REPO!r}, {FILE!r}, progress=Told()).read_bytes() else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """,
            settings={"tier": f"file://{shelf}", "lead": postgres.address},
        )
    )
    assert out == "0"
    other.release()


def test_system_without_threads_fails_no_download_from_the_tier(host, hub, data, spawn, shelf, tmp_path):
    """A file of a pinned commit comes from the tier where the system has no thread to look at its record with."""
    first = host("first")
    commit = hub.add_repo(REPO, {FILE: data})
    first.fetch(REPO, FILE, revision=commit)
    assert first.wait_for_uploads(60) == 0
    out = finish(
        spawn(
            f"""
            import threading

            start = threading.Thread.start

            def refuse(thread):
                if thread.name.startswith("model-cache upload"):
                    raise RuntimeError("can't start new thread")
                start(thread)

            threading.Thread.start = refuse
            print(len(cache.fetch({REPO!r}, {FILE!r}, revision={commit!r}).read_bytes()))
            """,
            root=str(tmp_path / "second"),
            settings={"tier": f"file://{shelf}"},
        )
    )
    assert out == str(len(data))


class Forking:
    """A doer during whose work another thread forks."""

    def __init__(self):
        self.begun, self.forked = threading.Event(), threading.Event()

    def submit(self, _call):
        """Begin, and end after the fork."""
        self.begun.set()
        assert self.forked.wait(60)
        raise RuntimeError("nobody does it")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork_beside_an_upload_that_begins_leaves_no_lock(tmp_path):
    """A child that was forked while another thread hands in an upload has uploads of its own, and ends."""
    doer = Forking()
    uploads = Uploads(doer)
    thread = threading.Thread(target=uploads.submit, args=(lambda: None, "nothing"))
    thread.start()
    assert doer.begun.wait(30)
    if (child := os.fork()) == 0:
        import signal

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        os._exit(uploads.wait(0))
    doer.forked.set()
    thread.join(60)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
