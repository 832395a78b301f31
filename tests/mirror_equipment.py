"""The real nginx with the configuration of `deploy/mirror`, in front of a hub on this machine."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from job_equipment import until

DEPLOYED = Path(__file__).parent.parent / "deploy" / "mirror"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# What a distribution's nginx.conf is around it; everything that is written stays below one directory.
AROUND = """
{user}
worker_processes 2;
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log {home}/access.log;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    include {home}/mirror.conf;
}}
"""


def deployed():
    """The environment that the Compose file gives the mirror."""
    compose = yaml.safe_load((DEPLOYED / "compose.yaml").read_text())
    environment = compose["services"]["mirror"]["environment"]
    return {name: value.replace("$$", "$") for name, value in environment.items()}


class Mirror:
    """One nginx in front of one hub; what `envsubst` does in its image is done here.

    Attributes:
        url: The endpoint for clients.
        home: Everything it writes.
    """

    def __init__(self, home, hub_url, cdn_url, **settings):
        if NGINX is None:
            pytest.skip("needs nginx")
        home.mkdir()
        # Bound here and inherited by it, as at the upgrade of a running nginx: nobody else can have the ports.
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        for bound in self._sockets:
            bound.setblocking(False)  # it takes for granted that an inherited one is: several workers accept from it
        ports = [bound.getsockname()[1] for bound in self._sockets]
        environment = deployed() | {
            "MIRROR_HUB": urlsplit(hub_url).netloc,
            "MIRROR_SCHEME": "http",
            "MIRROR_BYTES_HOSTS": re.escape(urlsplit(cdn_url).netloc),
            "MIRROR_LISTEN": f"127.0.0.1:{ports[0]}",
            "MIRROR_BYTES_LISTEN": f"127.0.0.1:{ports[1]}",
            "MIRROR_INNER": f"127.0.0.1:{ports[2]}",
            "MIRROR_BYTES_URL": f"$scheme://$host:{ports[1]}",
            "MIRROR_RESOLVER": "127.0.0.1",
            "MIRROR_DIR": str(home),
            **settings,
        }
        template = (DEPLOYED / "mirror.conf.template").read_text()
        text = re.sub(r"\$\{(MIRROR_[A-Z_]+)\}", lambda found: environment[found[1]], template)
        (home / "mirror.conf").write_text(text)
        (home / "nginx.conf").write_text(AROUND.format(home=home, user="user root;" if os.geteuid() == 0 else ""))
        self.home, self.url, self.bytes_url = home, *(f"http://127.0.0.1:{port}" for port in ports[:2])
        self._process = None

    def __enter__(self):
        numbers = [bound.fileno() for bound in self._sockets]
        self._process = subprocess.Popen(
            [NGINX, "-e", str(self.home / "early.log"), "-p", str(self.home), "-c", str(self.home / "nginx.conf")],
            env={"PATH": os.environ["PATH"], "NGINX": "".join(f"{number};" for number in numbers)},
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: (self.home / "nginx.pid").exists() or self._process.poll() is not None, "nginx started")
        if self._process.poll() is not None:
            pytest.fail(self._process.stderr.read())
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.communicate(timeout=120)
        self.close()

    def close(self):
        """Let go of the ports."""
        for bound in self._sockets:
            bound.close()
