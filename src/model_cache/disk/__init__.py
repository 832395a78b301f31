"""Changes to the file system; the one owner of rename, link, fsync and unlink.

Each function does one durable step and says what a crash before and after it leaves. What must be on disk first is the
caller's business: the order of steps stands with the operations.
"""

from .directories import (
    fsync_directory,
    fsync_parent,
    is_directory,
    leads_out,
    make_directory,
    open_parent,
    real_directory,
    refresh_parent,
    remove_empty_parents,
    sync,
    tag,
)
from .names import discard, give_back, link, publish, put, remove, remove_durably, replace, set_aside, take
from .refusals import is_full, storage_error
from .small import contents, create, fsync_file, open_entry, open_regular, read_small, scan, touch, write_small

__all__ = [
    "contents",
    "create",
    "discard",
    "fsync_directory",
    "fsync_file",
    "fsync_parent",
    "give_back",
    "is_directory",
    "is_full",
    "leads_out",
    "link",
    "make_directory",
    "open_entry",
    "open_parent",
    "open_regular",
    "publish",
    "put",
    "read_small",
    "real_directory",
    "refresh_parent",
    "remove",
    "remove_durably",
    "remove_empty_parents",
    "replace",
    "scan",
    "set_aside",
    "storage_error",
    "sync",
    "tag",
    "take",
    "touch",
    "write_small",
]
