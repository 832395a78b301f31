"""Two mounts of one directory by sshfs, with a stand-in for ssh: what two hosts see of a volume whose locks do not exclude."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from job_equipment import until

SERVER = "/usr/lib/openssh/sftp-server"
# sshfs asks for a program that leads to the server; here that is the server itself, and no network is in between.
INSTEAD_OF_SSH = f"#!/bin/sh\nexec {SERVER}\n"


class Mounts:
    """A directory, and mounts of it; each keeps its own cache of names, and its kernel locks know nothing of the others.

    Attributes:
        backing: The directory as its server sees it.
        points: Where the mounts are.
    """

    def __init__(self, home, number=2):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("needs /dev/fuse")
        if shutil.which("sshfs") is None or not os.access(SERVER, os.X_OK):
            pytest.skip("needs sshfs and openssh-sftp-server")
        self.backing = home / "backing"
        self.points = [home / f"mount-{number}" for number in range(number)]
        for directory in (self.backing, *self.points):
            directory.mkdir(parents=True)
        self._ssh = home / "instead-of-ssh"
        self._ssh.write_text(INSTEAD_OF_SSH)
        self._ssh.chmod(0o700)
        self._started = []

    def __enter__(self):
        for point in self.points:
            command = ["sshfs", "-f", "-o", f"ssh_command={self._ssh}", f"nowhere:{self.backing}", str(point)]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            self._started.append(process)
            until(lambda at=point, of=process: os.path.ismount(at) or of.poll() is not None, "sshfs mounted it")
            if process.poll() is not None:
                self.__exit__()
                pytest.skip(f"cannot mount here: {process.stdout.read().decode()}")
        return self

    def __exit__(self, *_):
        for point in self.points:
            subprocess.run(["fusermount3", "-u", "-z", point], capture_output=True)
        for process in self._started:
            process.kill()
            process.communicate()


def on_mount(path):
    """The type of file system a path is on, as the kernel calls it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return max((mount for mount in mounts if str(path).startswith(mount[1])), key=lambda mount: len(mount[1]))[2]
