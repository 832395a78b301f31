"""Where the token comes from, and that it does not show."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest

from model_cache.errors import SettingError
from model_cache.hub.tokens import Token, find_token, token_path

SECRET = "hf_SECRETsecretSECRET"


def test_the_sources_come_in_the_order_of_the_hubs_own_client(tmp_path: Path) -> None:
    """Argument, HF_TOKEN, HF_TOKEN_PATH, HF_HOME/token, then the default file."""
    default = tmp_path / ".cache/huggingface/token"
    home = tmp_path / "hf/token"
    named = tmp_path / "named"
    for path in (default, home, named):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.name}_{path.parent.name}\n")
    environ = {"HOME": str(tmp_path)}
    steps: list[tuple[str | None, dict[str, str], str]] = [
        (None, {}, "token_huggingface"),
        (None, {"HF_HOME": str(tmp_path / "hf")}, "token_hf"),
        (None, {"HF_TOKEN_PATH": str(named)}, f"named_{tmp_path.name}"),
        (None, {"HF_TOKEN": " from_env\n"}, "from_env"),
        ("argument", {}, "argument"),
    ]
    for argument, more, expected in steps:
        environ |= more
        found = find_token(argument, environ)
        assert found is not None
        assert expected == found.reveal()


def test_false_means_no_token_at_all() -> None:
    """token=False leaves even HF_TOKEN alone."""
    assert find_token(False, {"HF_TOKEN": SECRET}) is None


def test_true_means_a_token_must_be_found(tmp_path: Path) -> None:
    """token=True without any token is an error that says where one could be."""
    with pytest.raises(SettingError, match="no token was found") as caught:
        find_token(True, {"HOME": str(tmp_path)})
    assert "HF_TOKEN" in caught.value.hint


def test_no_token_is_no_error(tmp_path: Path) -> None:
    """Missing and empty files, and empty variables, mean no token."""
    empty = tmp_path / "empty"
    empty.write_text(" \n")
    assert find_token(None, {"HOME": str(tmp_path), "HF_TOKEN": ""}) is None
    assert find_token(None, {"HF_TOKEN_PATH": str(empty)}) is None
    assert find_token(None, {"HF_TOKEN_PATH": str(empty / "below-a-file")}) is None


def test_a_token_file_that_cannot_be_read_is_said_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Public repos need no token, so a directory in its place is only warned of."""
    assert find_token(None, {"HF_TOKEN_PATH": str(tmp_path)}) is None
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"HOME": "/h"}, "/h/.cache/huggingface/token"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/token"),
        ({"HOME": "/h", "HF_HOME": "~/hf"}, "/h/hf/token"),
        ({"HOME": "/h", "HF_TOKEN_PATH": "~/t"}, "/h/t"),
    ],
)
def test_the_token_file_is_where_the_hubs_own_client_looks(environ: dict[str, str], path: str) -> None:
    """HF_TOKEN_PATH, HF_HOME and XDG_CACHE_HOME move the file; `~` is the HOME of the same environment."""
    assert path == token_path(environ)


@pytest.mark.parametrize("text", [f"{SECRET}\nX-Evil: 1", f"{SECRET} x", f"{SECRET}é", f"{SECRET}\x00"])
def test_a_text_that_no_header_can_carry_is_refused_unseen(text: str) -> None:
    """The HTTP libraries would quote such a header in their errors; ours names only the source."""
    with pytest.raises(SettingError) as caught:
        find_token(None, {"HF_TOKEN": text})
    assert "HF_TOKEN" in str(caught.value)
    assert SECRET not in repr(caught.value) + str(caught.value.__dict__)


def test_a_token_does_not_show_itself() -> None:
    """Neither repr, str, format, pickling nor copying gives the text away."""
    token = Token(SECRET, "HF_TOKEN")
    assert SECRET not in f"{token} {token!r} {[token]}"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(token)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_token_file_of_somebody_else_is_said_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file without read permission is warned of, and its absence is no error."""
    path = tmp_path / "token"
    path.write_text(SECRET)
    path.chmod(0)
    assert find_token(None, {"HF_TOKEN_PATH": str(path)}) is None
    assert "PermissionError" in caplog.text
