"""A database that is none, or lies: it costs no memory, no time without end, and no message that does harm."""

import contextlib
import struct
import threading

import pytest
from fleet_equipment import Port

from model_cache.fleet.postgres import PostgresFlight
from model_cache.fleet.protocols import EngineError

PASSWORD = "hunter2"


def message(kind, body=b""):
    """One message of the protocol."""
    return kind + struct.pack("!I", len(body) + 4) + body


def row(*columns):
    """A row of an answer, and before it what its columns are."""
    told = struct.pack("!H", len(columns)) + (b"c\0" + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0)) * len(columns)
    held = b"".join(struct.pack("!i", len(column)) + column for column in columns)
    return message(b"T", told) + message(b"D", struct.pack("!H", len(columns)) + held)


def refusal(code, text):
    """An error of the server."""
    return message(b"E", b"SERROR\0VERROR\0C" + code + b"\0M" + text + b"\0\0")


BEGUN = message(b"1") + message(b"2")
READY = message(b"Z", b"I")
WELCOME = message(b"R", struct.pack("!I", 0)) + message(b"S", b"client_encoding\0UTF8\0") + READY


class Database(Port):
    """Answers each question with the same bytes, once or without end; with `asks`, it wants a password and repeats it."""

    def __init__(self, answer=b"", *, endless=False, asks=False):
        self._answer, self._endless, self._asks = answer, endless, asks
        super().__init__()
        self.flight = PostgresFlight(
            f"postgresql://u:{PASSWORD}@127.0.0.1:{self.port}/db?sslmode=disable&gssencmode=disable&connect_timeout=60"
        )

    def _meet(self, near):
        threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        with near, near.makefile("rb") as asked, contextlib.suppress(OSError, struct.error):
            asked.read(struct.unpack("!I", asked.read(4))[0] - 4)
            if self._asks:
                near.sendall(message(b"R", struct.pack("!I", 3)))
                word = asked.read(struct.unpack("!cI", asked.read(5))[1] - 4)
                near.sendall(refusal(b"28P01", b"it is not " + word.rstrip(b"\0")))
                return
            near.sendall(WELCOME)
            while True:
                kind, length = struct.unpack("!cI", asked.read(5))
                asked.read(length - 4)
                while kind == b"S":  # all of a question was sent
                    near.sendall(self._answer)
                    if not self._endless:
                        break


@pytest.fixture
def database():
    """Makes databases."""
    made = []

    def make(*arguments, **more):
        made.append(Database(*arguments, **more))
        return made[-1].flight

    yield make
    for one in made:
        one.close()


ENDLESS = {
    "rows": row(b"x" * 60_000),
    "results": BEGUN + (row(b"") + message(b"C", b"SELECT 1\0")) * 200,
    "nothing": message(b"I") * 1000,
    "notifications": message(b"A", struct.pack("!I", 1) + b"x\0" + b"y" * 7000 + b"\0") * 10,
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_answer_without_end_is_left_early(answer, database):
    """Not the time, nor the memory of this host ends it: so much is no answer to what was asked."""
    with pytest.raises(EngineError, match="no end"):
        database(answer, endless=True).lead("anything", lambda: True)


ODD = {
    "none": BEGUN + message(b"C", b"SELECT 0\0") + READY,
    "few": BEGUN + row(b"15") + message(b"C", b"SELECT 1\0") + READY,
    "words": BEGUN + row(b"15", b"a few", b"many", b"never") + message(b"C", b"SELECT 1\0") + READY,
    "monstrous": BEGUN + row(b"15", b"9" * 5000, b"1e999", b"nan") + message(b"C", b"SELECT 1\0") + READY,
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
def test_what_is_no_postgres_is_no_defect_of_ours(answer, database):
    """Whoever asks the doctor reads what is wrong with the database, whatever it answers."""
    with pytest.raises(EngineError, match=r"is it PostgreSQL"):
        database(answer).look()


def test_words_of_a_database_steer_no_terminal(database):
    """What it says is one line of printable characters, its codes included."""
    flight = database(refusal(b"\xff\x1b[m\xfe", b"\x1b[31mred\x1b]0;x\x07\xc2\x9b1m\r\nmore") + READY)
    for ask in (flight.look, lambda: flight.lead("anything", lambda: True)):
        with pytest.raises(EngineError) as caught:
            ask()
        assert str(caught.value).isprintable()


def test_password_that_a_database_repeats_is_not_repeated(database):
    """A server that asks for the password in clear text and has it in its refusal is not quoted with it."""
    with pytest.raises(EngineError, match="it is not …") as caught:
        database(asks=True).lead("anything", lambda: True)
    assert PASSWORD not in str(caught.value)
