"""A PostgreSQL server of the tests' own, which they may stop, kill and fill."""

import getpass
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "p%ss:w@rd/?"  # As awkward as one may be; `Server.url` encodes it.
NEEDED = "SANDBOX_NEEDS_POSTGRES"  # Set where a missing server is a failure.


def programs() -> Path | None:
    """Return the folder of the server's programs; None if it is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


class Server:
    """A server in a folder of its own, on a socket there and on a port of this machine.

    PostgreSQL refuses to run as root: there another user runs it.
    """

    def __init__(self) -> None:
        found = programs()
        assert found is not None, "no PostgreSQL is installed"
        self._programs = found
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
        self.port, self._count = _free_port(), 0
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            user = _other_user()
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.data = self.folder / "data"
        (self.folder / "password").write_text(PASSWORD)
        self.run(
            "initdb",
            *("--username=owner", "--auth-local=trust", "--auth-host=scram-sha-256"),
            *(f"--pwfile={self.folder / 'password'}", "--encoding=UTF8", "--locale=C"),
            str(self.data),
        )
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nfsync = on\n"
                f"unix_socket_directories = '{self.folder}'\nshared_buffers = '64MB'\n"
                "max_connections = 60\nlogging_collector = off\n"
            )
        self.start()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs, as the user who owns the server."""
        done = subprocess.run(
            [self._programs / program, *arguments], cwd=self.folder, timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self._as,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        log = self.folder / "log"
        self.run("pg_ctl", "start", "-w", "-t", "60", "-D", str(self.data), "-l", str(log))

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; `immediate` is a crash."""
        self.run("pg_ctl", "stop", "-w", "-t", "60", "-D", str(self.data), "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        """Stop the server, and start it."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill the server; its processes end when they see that."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def revive(self) -> None:
        """Start the server after it was killed, when its processes have ended."""
        for _ in range(200):
            try:
                self.start()
            except AssertionError:  # They hold its memory until they see that it was killed.
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the server does not start again")

    def url(self, database: str, user: str = "owner", port: int | None = None) -> str:
        """Return the URL of a database, by the port of this machine."""
        password = "".join(f"%{byte:02x}" for byte in PASSWORD.encode())
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/{database}"

    def admin(self, sql: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the server's owner, by its socket."""
        import psycopg  # Not everybody who runs tests has it.

        at = f"host={self.folder} port={self.port} user=owner dbname={database}"
        with psycopg.connect(at, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """Return the name of a new, empty database."""
        self._count += 1
        name = f"book_{self._count}_{secrets.token_hex(3)}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def close(self) -> None:
        """Stop the server, and remove its folder."""
        with suppress(AssertionError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def needed() -> None:
    """Skip a test where no server or no psycopg is installed, or fail where they must be."""
    lack = "PostgreSQL" if programs() is None else "psycopg" if not find_spec("psycopg") else ""
    if lack and os.environ.get(NEEDED):
        pytest.fail(f"{lack} is not installed, and {NEEDED} is set")
    if lack:
        pytest.skip(f"{lack} is not installed")


def _other_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError(f"{getpass.getuser()} may not run PostgreSQL, and there is nobody else")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxy:
    """Stands between clients and a server, and cuts connections when it is told to.

    Attributes:
        port: of this machine, where clients connect.
        cut: what makes it cut a connection: `before` it hands on a COMMIT; `after` it has, so that
            its answer is lost; `silence`, with which it hands on nothing more in either direction;
            None hands everything on.
        left: how many more connections it cuts.
    """

    def __init__(self, server: Server) -> None:
        self.cut: str | None = None
        self.left = 0
        self._to = server.port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open += [client, server]
                muted = threading.Event()  # The client hears nothing more.
                for work in (self._outward, self._inward):
                    given = (client, server, muted)
                    threading.Thread(target=work, args=given, daemon=True).start()

    def _outward(self, client: socket.socket, server: socket.socket, muted: Any) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.cut is not None and self.left and b"COMMIT\0" in data:
                    self.left -= 1
                    muted.set()
                    if self.cut == "silence":
                        continue
                    if self.cut == "after":
                        server.sendall(data)
                        time.sleep(0.3)  # The server commits.
                    break
                if not (muted.is_set() and self.cut == "silence"):
                    server.sendall(data)
        for side in (client, server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _inward(self, client: socket.socket, server: socket.socket, muted: Any) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if not muted.is_set():
                    client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the door and all connections."""
        for one in (self._door, *self._open):
            one.close()
