"""Every operation, killed before each of its steps and failed at each of its system calls; then everything is checked.

`python -m stress.sweep kill` and `python -m stress.sweep fault`. A *point* is one place in one operation: a named step
that the constructor hands in (`step:7`, the seventh step overall), or a real system call (`unlink:2`, the second unlink of
the main thread; `openat@1:3`, the third openat of the first thread that the operation starts).

**Counting.** strace counts calls per thread and per kind of call, and so does a point: strace is attached to one thread
alone, without following others, and is told one kind of call. The threads that an operation starts are swept one by one; each
tells its id and waits to be attached before it does anything (`threading.settrace`, no patch). What stands before the
operation is not counted: a process without threads that has everything imported forks the one that dies, and only this
one is attached. N goes from 1 until the operation completes without having been killed or failed.

**Before the call.** A signal that strace injects is delivered as the call is entered, and a fatal one keeps the kernel
from running it (syscall_trace_enter in kernel/entry/common.c); `tests/test_sweeps.py` sees the file that was to be unlinked.

**Concurrency.** Each worker process has its own hub, its own sites and its own forking process. A site is prepared once
per operation and copied for each point, inode numbers in the index and in marks following (`twin`).
"""
