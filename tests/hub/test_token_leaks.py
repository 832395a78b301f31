"""No secret shows anywhere, whatever fails and however it got there: each way in, and every place there is to look at."""

import os
from concurrent.futures import ThreadPoolExecutor

import click
import pytest

from model_cache import SettingError
from model_cache.cli.group import group
from model_cache.clock import Clock
from model_cache.doctor.partner import Partner
from model_cache.hub.client import HubClient
from model_cache.hub.tokens import without_secrets
from stress.hostile import tokens

SECRET = tokens.SECRET


@pytest.fixture(scope="module")
def runs(request):
    """The ways that are to be tested, begun at once."""
    chosen = [item.callspec.params["way"] for item in request.session.items if item.originalname == LEAKS]
    with ThreadPoolExecutor(4) as pool:
        yield {way: pool.submit(tokens.look, way) for way in chosen}


@pytest.mark.parametrize("way", tokens.WAYS)
def test_a_secret_shows_nowhere(runs, way):
    """Not in output, log, errors, pickles, objects, children, on disk, or in a request to anybody but the Hub."""
    assert runs[way].result() == dict.fromkeys(tokens.PLACES, False)


LEAKS = test_a_secret_shows_nowhere.__name__


def test_a_leak_would_be_found(tmp_path):
    """The look that finds nothing elsewhere finds a secret in a name, in a file, and as Basic credentials."""
    for name, text in (
        (SECRET, ""),
        ("plain", f"x{SECRET}x"),
        ("basic", "dXNlcjpoZl9QTEFOVEVEcExhTnRFZHBsYW50ZWQwMTIzNDU2Nzg5YWJjZA=="),
    ):
        (tmp_path / name).write_text(text)
        assert tokens._file_shows(tmp_path / name), name
    (tmp_path / "clean").write_text("hf_another")
    assert not tokens._file_shows(tmp_path / "clean")


def test_an_address_with_a_password_is_no_endpoint():
    """A client is not made for it, and the error does not repeat it."""
    with pytest.raises(SettingError, match="it carries a user name") as caught:
        HubClient(f"https://user:{SECRET}@hub.example", token=None, clock=Clock())
    assert SECRET not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="needs /proc")
def test_a_child_that_has_no_business_with_the_hub_gets_no_secret(tmp_path, monkeypatch):
    """The kernel's own word on the doctor's partner: neither its environment nor its command line has one."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:{SECRET}@proxy.example")
    with Partner(str(tmp_path)) as partner:
        for name in ("environ", "cmdline"):
            with open(f"/proc/{partner.pid}/{name}", "rb") as file:
                assert SECRET.encode() not in file.read()


def test_what_a_child_keeps_of_the_environment():
    """Everything but the Hub's own variables, keys of a cloud, passwords of a database, and proxies."""
    environ = {"PATH": "/bin", "HF_HOME": "/h", "HF_TOKEN": "x", "HTTP_PROXY": "p", "no_proxy": "n", "LANG": "C"}
    environ |= {"AWS_SECRET_ACCESS_KEY": "k", "PGPASSWORD": "p", "MODEL_CACHE_LEAD": "postgresql://u:p@h/d"}
    assert without_secrets(environ) == {"PATH": "/bin", "LANG": "C"}


def test_no_option_takes_a_token():
    """A command line is read by everybody on the machine: no command takes a token there."""
    context = click.Context(group)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    options = [option for command in commands for parameter in command.params for option in parameter.opts]
    assert "--json" in options
    assert not [option for option in options if "token" in option or "password" in option]
