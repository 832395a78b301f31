"""Where the root is and which policy holds: argument > environment > policy file > default.

The policy file, `{root}/.model-cache/config.toml`, is shared by all that use the root; the command `config` writes it.
Reading it imports a TOML parser, so it is only opened where it exists.
"""

from __future__ import annotations

import os

from . import disk, modes, values
from .errors import SettingError
from .layout import OWN
from .platforms.capabilities import user
from .units import parse_budget, parse_duration, parse_size, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

DEFAULT_ENDPOINT = "https://huggingface.co"
POLICY_LIMIT = 1 << 20  # bytes; a policy has a few lines


def _tier(value: object, what: str) -> str | None:
    from .fleet.address import parse_tier  # only who sets one pays for it

    return parse_tier(value, what)


def _lead(value: object, what: str) -> str | None:
    from .fleet.address import parse_lead

    return parse_lead(value, what)


# Every policy key: how its text is read, and its default. None: off.
KEYS: dict[str, tuple[Callable[..., object], object]] = {
    "max_size": (parse_budget, None),
    "min_free": (parse_size, None),
    "max_age": (parse_duration, None),
    "min_idle": (parse_duration, 600.0),
    "touch_interval": (parse_duration, 60.0),
    "lock_timeout": (parse_duration, 600.0),
    "connections": (values.count, 4),
    "sharing": (values.sharing, "private"),
    "endpoint": (values.address, DEFAULT_ENDPOINT),
    "lower": (values.roots, ()),
    "state_dir": (values.directory, None),
    "evictor": (values.host, None),
    "evict_untested": (values.flag, False),
    "share_gated": (values.flag, False),
    "tier": (_tier, None),
    "lead": (_lead, None),
}

# What a process is told by its environment alone; the names that users of the Hub's own client know come second.
_PROCESS: dict[str, tuple[tuple[str, ...], Callable[..., object], object]] = {
    "offline": (("MODEL_CACHE_OFFLINE", "HF_HUB_OFFLINE"), values.flag, False),
    "read_only": (("MODEL_CACHE_READ_ONLY",), values.flag, False),
    "etag_timeout": (("HF_HUB_ETAG_TIMEOUT",), values.network_wait, 10.0),
    "download_timeout": (("HF_HUB_DOWNLOAD_TIMEOUT",), values.network_wait, 10.0),
    "no_progress": (("HF_HUB_DISABLE_PROGRESS_BARS",), values.flag, False),
}

# Everything a ModelCache reads from the environment; the module-level functions compare these at each call.
VARIABLES = (
    *(f"MODEL_CACHE_{key.upper()}" for key in KEYS),
    *(name for names, _, _ in _PROCESS.values() for name in names),
    *("MODEL_CACHE_DIR", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"),
    *("HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME"),
)


class Settings:
    """One root and the policy that holds for it.

    Attributes:
        root: Absolute path of the root; it need not exist.
        root_source: The setting the root came from, for messages.
        max_size: Ceiling in bytes (int), as a share of the file system (float), or None.
        min_free: Bytes the file system must keep free, or None.
        max_age: Seconds since last use after which an entry expires, or None.
        min_idle: Seconds since last use during which an entry is never evicted.
        touch_interval: Seconds between two touches of one entry by one process.
        lock_timeout: Seconds to wait for a download that does not grow.
        connections: Connections for one large file.
        sharing: `private` or `group`.
        endpoint: Address of the Hub, without a closing slash.
        lower: Roots that are looked at before the Hub is asked, and only read.
        tier: Address of a bucket that is shared with other hosts, or None.
        lead: Address of the database that says which of them downloads, or None; it may have a password in it.
        state_dir: Directory on this host's own disk for what is not shared with other hosts, or None: in the root.
        evictor: Name of the only host that may take files away, or None: any.
        evict_untested: Evict another user's file although this process may not ask the kernel who has it open.
        share_gated: Send the token though a group shares the root: what it may read, everybody there may.
        offline, read_only: Never ask the network; never write.
        etag_timeout, download_timeout: Seconds for a metadata answer; seconds without a byte of a body.
        no_progress: Progress bars are unwanted.
    """

    max_size: int | float | None
    min_free: int | None
    max_age: float | None
    min_idle: float
    touch_interval: float
    lock_timeout: float
    connections: int
    sharing: str
    endpoint: str
    lower: tuple[str, ...]
    tier: str | None
    lead: str | None
    state_dir: str | None
    evictor: str | None
    evict_untested: bool
    share_gated: bool
    offline: bool
    read_only: bool
    etag_timeout: float
    download_timeout: float
    no_progress: bool

    def __init__(
        self, environ: Mapping[str, str], *, root: str | os.PathLike[str] | None = None, **arguments: object
    ) -> None:
        unknown = set(arguments) - set(KEYS) - set(_PROCESS)
        if unknown:
            raise SettingError(f"unknown setting {', '.join(sorted(unknown))}; known: {', '.join(sorted(KEYS))}")
        self.root, self.root_source = find_root(environ, root)
        self.sources: dict[str, str] = {}
        # A copy: what a cache does is settled when it is made, whatever happens to the environment later.
        self._environ = {name: environ[name] for name in VARIABLES if environ.get(name)}
        self._arguments = {key: value for key, value in arguments.items() if value is not None}
        self._take({key: self._choose(key, *how, {}) for key, how in _PROCESS.items()})
        self._load_policy()

    def __reduce__(self) -> NoReturn:
        raise TypeError("settings are not pickled: they hold the environment's token; pickle the ModelCache")

    def _load_policy(self) -> None:
        """Read everything first, then take it: a policy with a mistake in it leaves the one before whole."""
        identity = _identity(self.policy_file)
        policy, foreign = _read_policy(self.policy_file) if identity else ({}, False)
        chosen = {}
        for key, (read, default) in KEYS.items():
            names = (f"MODEL_CACHE_{key.upper()}",) + (("HF_ENDPOINT",) if key == "endpoint" else ())
            chosen[key] = self._choose(key, names, read, default, policy)
        self._take(chosen)
        self._policy_identity, self._foreign = identity, foreign

    def _take(self, chosen: dict[str, tuple[object, str]]) -> None:
        for key, (value, source) in chosen.items():
            setattr(self, key, value)
            self.sources[key] = source

    def _choose(
        self, key: str, names: tuple[str, ...], read: Callable[..., object], default: object, policy: dict[str, object]
    ) -> tuple[object, str]:
        """One setting from the first place that has it, and that place, for messages."""
        candidates: list[tuple[object, str]] = []
        if key in self._arguments:
            candidates.append((self._arguments[key], f"the argument {key}"))
        candidates += [(self._environ[name], name) for name in names if name in self._environ]
        if key in policy:
            candidates.append((policy[key], f"{key} in {self.policy_file}"))
        if not candidates:
            return default, "default"
        value, source = candidates[0]
        try:
            return read(value, source), source
        except SettingError:
            raise
        except (ValueError, OverflowError):  # a number of thousands of digits
            raise SettingError(f"{source}: cannot be used: {shown(value)}") from None

    @property
    def endpoint_is_foreign(self) -> bool:
        """Whether the endpoint was named by a policy file that others than this user and root can write."""
        return self.is_foreign("endpoint")

    def is_foreign(self, key: str) -> bool:
        """Whether a key was set by a policy file that others than this user and root can write."""
        return self._foreign and self.sources[key] == f"{key} in {self.policy_file}"

    @property
    def foreign_engines(self) -> str:
        """What is wrong with engines that others may have named: this user's credentials are not for them; empty if nothing."""
        named = [key for key in ("tier", "lead") if self.is_foreign(key)]
        if not named:
            return ""
        variables = " and ".join(f"MODEL_CACHE_{key.upper()}" for key in named)
        return (
            f"{' and '.join(named)} in {self.policy_file}: not used, because others than this user and root can write that"
            f" file; if it is right, set {variables}"
        )

    @property
    def policy_file(self) -> str:
        """Path of the policy that all users of this root share."""
        return f"{self.root}/{OWN}/config.toml"

    def refresh(self) -> None:
        """Read the policy file again if somebody replaced it since; off the hot path only."""
        if _identity(self.policy_file) != self._policy_identity:
            self._load_policy()

    def below(self, root: str) -> Settings:
        """The same policy for a root that is only read; its own policy file is for those who write there."""
        other = object.__new__(Settings)
        there = {"root": root, "root_source": self.sources["lower"], "read_only": True, "lower": (), "state_dir": None}
        other.__dict__.update(self.__dict__, **there)
        return other

    @property
    def environ(self) -> Mapping[str, str]:
        """What was read of the environment when this object was made (the token's sources included; never printed)."""
        return self._environ

    @property
    def sends(self) -> str:
        """What goes to the Hub with a question: `token`, or `nothing` for a root that others read too."""
        return "nothing" if self.sharing == "group" and not self.share_gated else "token"

    def private_root(self) -> str:
        """A root of this user alone, for hints; beside this one where the user has no home."""
        try:
            found = find_root({})[0]
        except SettingError:
            found = self.root
        return found if found != self.root else f"{found}-private"

    @property
    def evicts(self) -> bool:
        """Whether anything may ever be evicted under this policy."""
        return not (self.max_size is None and self.min_free is None and self.max_age is None)

    @property
    def directory_mode(self) -> int:
        """Mode of directories this cache makes."""
        return modes.right(self.sharing, directory=True)

    @property
    def file_mode(self) -> int:
        """Mode of files this cache makes."""
        return modes.right(self.sharing, directory=False)


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def find_root(environ: Mapping[str, str], root: str | os.PathLike[str] | None = None) -> tuple[str, str]:
    """The root's absolute path and the setting it came from.

    Argument > `MODEL_CACHE_DIR` > `CACHE_DIRECTORY` (set by systemd, the first of the list) > the user's cache
    directory (https://specifications.freedesktop.org/basedir-spec/latest/). Touches nothing.

    Raises:
        SettingError: Empty, not absolute after expansion of `~`, or no home directory to be found.
    """
    if root is not None:
        try:
            text = os.fsdecode(root)
        except TypeError:
            raise SettingError(f"the argument root: expected the path of a directory, found {shown(root)}") from None
        return _absolute(text, "the argument root"), "the argument root"
    if environ.get("MODEL_CACHE_DIR"):
        return _absolute(environ["MODEL_CACHE_DIR"], "MODEL_CACHE_DIR"), "MODEL_CACHE_DIR"
    if environ.get("CACHE_DIRECTORY"):
        first = environ["CACHE_DIRECTORY"].split(":", 1)[0]
        return _absolute(first, "CACHE_DIRECTORY"), "CACHE_DIRECTORY"
    from platformdirs import user_cache_path

    found = str(user_cache_path("model-cache", appauthor=False))
    if not os.path.isabs(found):
        raise SettingError(
            f"no root: the user's cache directory came out as {found!r}, which is not absolute",
            hint="export MODEL_CACHE_DIR=/path/to/cache",
        )
    return os.path.normpath(found), "the user's cache directory"


def _absolute(path: str, source: str) -> str:
    if not path or "\0" in path:
        raise SettingError(f"{source}: expected the path of a directory, found {path!r}")
    path = os.path.expanduser(path)
    if path.startswith("~"):
        raise SettingError(f"{source}: no home directory is known for {path!r}", hint="give an absolute path")
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise SettingError(
            f"{source}: {path!r} is relative, and the working directory is gone", hint="give an absolute path"
        ) from None


def read_policy(path: str) -> dict[str, object]:
    """All that a policy file says, with keys that nobody here knows: a later version may.

    Raises:
        SettingError: It cannot be read or is no TOML.
    """
    return _read_policy(path)[0]


def _read_policy(path: str) -> tuple[dict[str, object], bool]:
    """The keys, and whether others than this user and root can write the file: asked of the file that was read."""
    import tomllib

    try:
        fd = disk.open_regular(path)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            text = file.read(POLICY_LIMIT + 1).decode()
        if len(text) > POLICY_LIMIT:
            raise ValueError(f"it has more than {POLICY_LIMIT} characters")
        found = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return (
            {},
            False,
        )  # where `.model-cache/` is a symlink or a file, every operation that writes refuses and says so
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)[:200]
        raise SettingError(f"policy file {path}: {reason}", hint="mend it with an editor, or remove it") from None
    foreign = status.st_uid not in (0, user()) or bool(status.st_mode & 0o022)
    return found, foreign


def policy_text(old: str, key: str, value: str | None) -> str:
    """The text of a policy file with one key set (or taken out, for None); other lines stay as they are."""
    if key not in KEYS:
        raise SettingError(f"unknown policy key {key!r}; known: {', '.join(KEYS)}")
    lines = [line for line in old.splitlines() if line.split("=", 1)[0].strip() != key]
    if value is not None:
        KEYS[key][0](value, key)
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{key} = "{escaped}"')
    return "".join(f"{line}\n" for line in lines)
