"""Every error this package raises on purpose, in one family.

The message says what happened, to what, and what was expected against what was found; `hint` is a command or a
setting that helps. Each class knows the exit code the command gives it. Instances survive pickling, fields included,
because they cross process boundaries in worker pools.
"""


class ModelCacheError(Exception):
    """The root of the family.

    Args:
        message: One line: what happened, to which name or path, expected against found.
        hint: What to do next, as a command that can be run or a setting that can be changed; empty if there is none.
        **fields: Facts of this error (sizes in bytes, times in seconds), set as attributes.
    """

    exit_code = 1
    hint = ""

    def __init__(self, message: str, *, hint: str = "", **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        for name, value in fields.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _revive, (type(self), dict(self.__dict__))


def quoted(text: str) -> str:
    """A path or name as a command in a hint may have it: what is copied into a shell is one word and does nothing."""
    from shlex import quote  # only an error pays for it

    return quote(text)


def _revive(kind: type[ModelCacheError], state: dict[str, object]) -> ModelCacheError:
    error = kind(str(state.get("message", "")))
    error.__dict__.update(state)
    return error


class InvalidNameError(ModelCacheError, ValueError):
    """A repo, revision or filename that cannot stand for a path in the cache."""

    exit_code = 2


class SettingError(ModelCacheError, ValueError):
    """A setting (argument, environment variable or policy key) whose value cannot be used."""

    exit_code = 2


class LockFileError(ModelCacheError, ValueError):
    """A lock file that cannot be read, makes no sense, or is not to be overwritten. Fields: `path`."""

    exit_code = 2
    path: str = ""


class OfflineMissError(ModelCacheError, FileNotFoundError):
    """The file is not in the cache, and this cache may not or cannot download it.

    Fields: `reason`, where it is the root that cannot be written: why; `incomplete`: the directory of a repo of which
    some files are there.
    """

    exit_code = 10
    reason: str = ""
    incomplete: str = ""


class LockTimeoutError(ModelCacheError, TimeoutError):
    """A lock was not free in time."""

    exit_code = 11


class DownloadInProgressError(LockTimeoutError):
    """The caller's time ran out while the file is being downloaded; the download itself goes on or can be resumed.

    Fields: `done` and `total` in bytes (`total` None if unknown), `rate` in bytes per second, `eta` in seconds or None.
    """

    done: int = 0
    total: int | None = None
    rate: float = 0.0
    eta: float | None = None

    @property
    def percent(self) -> int | None:
        """How much of the file has arrived, None if its size is unknown."""
        return None if self.total is None else self.done * 100 // max(self.total, 1)


class DownloadError(ModelCacheError):
    """The Hub could not be reached, refused, or answered with something that cannot be used.

    Fields, where known: `status` (HTTP), `url` (its query redacted), `request_id` and `code` (the Hub's). `transient`
    says that asking again can help; `retry_after` is what the server asked to wait, in seconds; `unreachable` says that no
    connection could be made at all.
    """

    status: int | None = None
    url: str = ""
    request_id: str = ""
    code: str = ""
    transient: bool = False
    retry_after: float | None = None
    unreachable: bool = False


class NotFoundError(DownloadError):
    """The Hub knows no such repo, revision or file."""


class AccessError(DownloadError):
    """The Hub wants a token, another token, or an accepted licence (gated repo)."""


class IntegrityError(ModelCacheError):
    """The bytes are not the promised ones. Fields: `expected` and `found` (a hash or a length)."""

    expected: object = None
    found: object = None


class CacheFullError(ModelCacheError):
    """The budget or the disk cannot hold the file now. Fields: `needed`, `available` in bytes."""

    exit_code = 12
    needed: int = 0
    available: int = 0


class FileTooLargeError(CacheFullError):
    """The file can never fit: it alone is larger than the budget."""


class InUseError(ModelCacheError):
    """The entry is leased, pinned, open or being worked on."""

    exit_code = 11


class StorageError(ModelCacheError):
    """The file system refused (permission, I/O, wrong kind of file). Fields: `path`, `errno`."""

    path: str = ""
    errno: int = 0


class IndexUnavailableError(ModelCacheError):
    """The index cannot be read or written (missing rights, damage, a newer version, a full disk)."""
