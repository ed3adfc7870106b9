"""Servers of our own for tests: a Redis and a PostgreSQL that may be killed, frozen and started again.

They listen on free ports, keep their data in a temporary directory and take it with them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest
from django.db import connections
from redis import Redis, RedisError, ResponseError

from tests import templates

PATIENCE = 60.0
"""Seconds until a server that does not come up is given up."""


def need(binary: str | None, name: str, remedy: str) -> str:
    """The path of a program; without it the test is skipped, and in CI it fails."""
    if binary is not None:
        return binary
    message = f"{name} is not installed; {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def need_package(name: str, project: str) -> None:
    """A Python package that the tests can do without; where it is missing, as `need`."""
    need(name if find_spec(name) else None, name, f"`pip install {project}`")


def free_port() -> int:
    """A TCP port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_until(is_ready: Callable[[], bool]) -> None:
    """Wait for a server to come up or a fact to become true."""
    deadline = time.monotonic() + PATIENCE
    while not is_ready():
        if time.monotonic() > deadline:
            message = f"{is_ready} was not true within {PATIENCE:g} s"
            raise TimeoutError(message)
        time.sleep(0.02)


class Server:
    """A process that is started, harmed and stopped by tests; a context manager."""

    def __init__(self) -> None:
        """Take a directory and a port; nothing is started yet."""
        self.directory = Path(tempfile.mkdtemp(prefix="immortus-server-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, with the data it had, and wait until it answers."""
        self._process = self._spawn()
        wait_until(self._answers)

    @property
    def pid(self) -> int:
        """The process id, while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def freeze(self) -> None:
        """Let it keep its connections and say nothing (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, without a word (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it for good, with its data."""
        if self._process is not None:
            self.thaw()
            self._end(signal.SIGTERM)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _popen(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, **options)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class RedisServer(Server):
    """A redis-server; with `keeps_data` what was written survives `kill()`."""

    AT_ONCE = ("--repl-diskless-sync-delay", "0")
    """A master would wait five seconds for more replicas."""

    def __init__(self, *, keeps_data: bool = False) -> None:
        """Find the program."""
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        self._binary = need(found, "redis-server", "install Redis or Valkey (Debian: apt install redis-server)")
        self._keeps_data = keeps_data
        super().__init__()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _spawn(self) -> subprocess.Popen[bytes]:
        aof = ("--appendonly", "yes", "--appendfsync", "always") if self._keeps_data else ()
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory))
        return self._popen(self._binary, *where, *self.AT_ONCE, "--save", "", *aof)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith(b"+PONG")
        except OSError:
            return False


class WatchedRedis:
    """A master, a replica that stands ready, and the sentinel that watches them; a context manager."""

    def __init__(self) -> None:
        """Find the programs."""
        self.master, self.replica = RedisServer(), RedisServer()
        self.sentinel = SentinelServer(self.master.port)

    @property
    def options(self) -> dict[str, Any]:
        """What a Redis store is told."""
        return {"sentinels": [("127.0.0.1", self.sentinel.port)], "master_name": "immortus"}

    def master_now(self) -> RedisServer:
        """Who is the master, as the sentinel says."""
        port = self.sentinel.master_port()
        return next(server for server in (self.master, self.replica) if server.port == port)

    def __enter__(self) -> Self:
        """Start all three."""
        self.master.start()
        self.replica.start()
        with Redis.from_url(self.replica.url) as client:
            client.replicaof("127.0.0.1", str(self.master.port))
        with Redis.from_url(self.master.url) as client:
            wait_until(lambda: client.info("replication")["connected_slaves"] == 1)
        self.sentinel.start()
        wait_until(self.sentinel.knows_a_replica)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        for server in (self.sentinel, self.replica, self.master):
            server.stop()


class RedisNode(RedisServer):
    """A node of a Redis Cluster, which the others miss after a second."""

    def __init__(self) -> None:
        """Take a second port, for the nodes among themselves."""
        super().__init__()
        self.bus = free_port()

    def _spawn(self) -> subprocess.Popen[bytes]:
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", "")
        among = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus), "--cluster-node-timeout", "1000")
        return self._popen(self._binary, *where, *self.AT_ONCE, *among)


class ClusteredRedis:
    """A Redis Cluster of three masters with a replica each; a context manager."""

    SLOTS = 16_384

    def __init__(self) -> None:
        """Find the program."""
        self.nodes = [RedisNode() for _ in range(6)]

    @property
    def options(self) -> dict[str, Any]:
        """What a Redis store is told: two of the nodes."""
        return {"cluster_nodes": [("127.0.0.1", node.port) for node in self.nodes[:2]]}

    def master_now(self, key: str = "{immortus}:leases") -> RedisNode:
        """Who has this key, as most nodes say."""
        told = Counter(port for node in self.nodes if (port := self._owner(node, key)))
        return next(node for node in self.nodes if node.port == told.most_common(1)[0][0])

    def _owner(self, node: RedisNode, key: str) -> int | None:
        try:
            with Redis.from_url(node.url, socket_timeout=0.3, retry=None) as client:
                slot = client.execute_command("CLUSTER KEYSLOT", key)
                slots = client.execute_command("CLUSTER SLOTS")
        except RedisError:
            return None
        return next(int(one[2][1]) for one in map(list, _ranges(slots)) if one[0] <= slot <= one[1])

    def __enter__(self) -> Self:
        """Start them and make them one; where that fails, none is left."""
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        for node in self.nodes:
            node.start()
        clients = [Redis.from_url(node.url) for node in self.nodes]
        ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
        for n, client in enumerate(clients):
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", n + 1)
        for client in clients:
            client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus)
        for n, client in enumerate(clients[:3]):
            client.execute_command("CLUSTER ADDSLOTS", *range(n * self.SLOTS // 3, (n + 1) * self.SLOTS // 3))
        wait_until(lambda: all(_said(client, "cluster_known_nodes") == "6" for client in clients))
        for client, master in zip(clients[3:], ids, strict=False):
            wait_until(lambda client=client, master=master: _follows(client, master))
        wait_until(lambda: all(_said(client, "cluster_state") == "ok" for client in clients))
        for client in clients[3:]:
            wait_until(lambda client=client: client.info("replication")["master_link_status"] == "up")
        for client in clients:
            client.close()

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        for node in self.nodes:
            node.stop()


def _said(client: Any, name: str) -> str:
    """A line of what a node says of its cluster."""
    told = client.execute_command("CLUSTER INFO")
    return (
        str(told[name])
        if isinstance(told, dict)
        else dict(line.split(":") for line in told.decode().split() if ":" in line)[name]
    )


def _follows(client: Any, master: str) -> bool:
    """Whether the node is a replica of that master now."""
    with contextlib.suppress(ResponseError):  # it has not heard of the master yet
        client.execute_command("CLUSTER REPLICATE", master)
        return True
    return False


def _ranges(slots: Any) -> list[list[Any]]:
    """The answer to CLUSTER SLOTS as Redis gives it: redis-py makes a dict of it."""
    if isinstance(slots, dict):
        return [[first, last, told["primary"]] for (first, last), told in slots.items()]
    return list(slots)


class SentinelServer(RedisServer):
    """A sentinel by itself, which makes a replica the master half a second after the master has gone."""

    def __init__(self, master_port: int) -> None:
        """Watch the master that listens there."""
        super().__init__()
        name = "immortus"
        (self.directory / "sentinel.conf").write_text(
            f"sentinel monitor {name} 127.0.0.1 {master_port} 1\n"
            f"sentinel down-after-milliseconds {name} 500\n"
            f"sentinel failover-timeout {name} 3000\n"
        )

    def master_port(self) -> int:
        """Where the master listens, as it tells everybody."""
        return int(self._ask(b"SENTINEL get-master-addr-by-name immortus\r\n").split(b"\r\n")[4])

    def knows_a_replica(self) -> bool:
        """Whether there is one to make the master."""
        return b"127.0.0.1:" in self._ask(b"SENTINEL REPLICAS immortus\r\n")

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(command)
            return connection.recv(65536)

    def _spawn(self) -> subprocess.Popen[bytes]:
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory))
        return self._popen(self._binary, str(self.directory / "sentinel.conf"), "--sentinel", *where)


class NginxServer(Server):
    """An nginx in front of web servers on these ports, which it asks in turn, by a server block's content.

    Whatever the block passes to on 127.0.0.1 goes to all of them. `beside` stands beside the block.
    """

    def __init__(self, block: str, ports: Sequence[int], beside: str = "") -> None:
        """Find the program and write its configuration."""
        found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        self._binary = need(found, "nginx", "install it (Debian: apt install nginx-light)")
        super().__init__()
        servers = " ".join(f"server 127.0.0.1:{port};" for port in ports)
        block = re.sub(r"proxy_pass http://127\.0\.0\.1:\d+;", "proxy_pass http://webs;", block)
        log = """'{"server": "$upstream_addr", "path": "$uri", "status": $status}'"""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {self.directory}/{kind};" for kind in kinds)
        (self.directory / "nginx.conf").write_text(
            f"daemon off; pid {self.directory}/pid; error_log stderr;\n"
            "events {}\n"
            f"http {{ {temporary} log_format json {log}; access_log {self.directory}/requests json;\n"
            f"upstream webs {{ {servers} }}\n{beside}\n"
            f"server {{ listen 127.0.0.1:{self.port};\n{block}\n}} }}\n"
        )

    def requests(self) -> list[dict[str, Any]]:
        """The requests that were answered, and the sockets that have closed: who served which path."""
        return [json.loads(line) for line in (self.directory / "requests").read_text().splitlines()]

    def _spawn(self) -> subprocess.Popen[bytes]:
        return self._popen(self._binary, "-p", str(self.directory), "-c", "nginx.conf")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class PostgresServer(Server):
    """A PostgreSQL cluster that asks for no password."""

    def __init__(self) -> None:
        """Find the programs and make the cluster, as another user if this one is root."""
        root = Path("/usr/lib/postgresql")
        newest = max(root.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), default=None)
        found = str(newest) if newest else shutil.which("initdb")
        remedy = "install PostgreSQL (Debian: apt install postgresql)"
        self._programs = Path(need(found, "PostgreSQL's initdb", remedy)).parent
        super().__init__()
        self._as_user: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            self._as_user |= {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self.directory, "postgres", "postgres")
        templates.copy("postgres", self._make_cluster, self.directory / "data")

    def _make_cluster(self, template: Path) -> None:
        options = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "--no-instructions")
        made = self.directory / "made"
        command = (str(self._programs / "initdb"), "-D", str(made), *options)
        subprocess.run(command, check=True, capture_output=True, **self._as_user)
        shutil.move(made, template)

    @property
    def database(self) -> dict[str, Any]:
        """What goes into Django's `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": str(self.directory),
            "PORT": str(self.port),
        }

    def kill(self) -> None:
        """End all its processes at once, without saving anything ("immediate shutdown")."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it for good without waiting for clients."""
        if self._process is not None:
            self.kill()
        super().stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        places = ("-D", str(self.directory / "data"), "-k", str(self.directory), "-p", str(self.port))
        options = ("-c", "listen_addresses=", "-c", "fsync=off")
        return self._popen(str(self._programs / "postgres"), *places, *options, **self._as_user)

    def _answers(self) -> bool:
        command = (str(self._programs / "pg_isready"), "-q", "-h", str(self.directory), "-p", str(self.port))
        return subprocess.run(command, check=False).returncode == 0


class PgBouncer(Server):
    """A PgBouncer before a PostgreSQL, with these lines in its configuration; it pools by transaction."""

    def __init__(self, postgres: PostgresServer, *lines: str) -> None:
        """Find the program and write its configuration, as another user if this one is root."""
        found = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
        self._binary = need(found, "PgBouncer", "install it (Debian: apt install pgbouncer)")
        super().__init__()
        self._as_user: dict[str, Any] = {"cwd": "/"}
        behind = f"host={postgres.directory} port={postgres.port} dbname=postgres user=postgres"
        options = ("listen_addr = 127.0.0.1", "unix_socket_dir =", "auth_type = any", "pool_mode = transaction", *lines)
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\npostgres = {behind}\n[pgbouncer]\nlisten_port = {self.port}\n" + "\n".join(options)
        )
        if os.geteuid() == 0:
            self._as_user |= {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self.directory, "postgres", "postgres")

    @property
    def database(self) -> dict[str, Any]:
        """What goes into Django's `DATABASES`."""
        engine = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres"}
        return {**engine, "HOST": "127.0.0.1", "PORT": str(self.port), "DISABLE_SERVER_SIDE_CURSORS": True}

    def _spawn(self) -> subprocess.Popen[bytes]:
        return self._popen(self._binary, str(self.directory / "pgbouncer.ini"), **self._as_user)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def need_mysql_driver() -> None:
    """Let Django find mysqlclient or, in its place, PyMySQL, which needs no compiler to install."""
    if "MySQLdb" in sys.modules or importlib.util.find_spec("MySQLdb"):
        return
    need(importlib.util.find_spec("pymysql") and "pymysql", "PyMySQL", "pip install pymysql (or mysqlclient)")
    importlib.import_module("pymysql").install_as_MySQLdb()


class MariaServer(Server):
    """A MariaDB that asks for no password, with a database made with this character set."""

    def __init__(self, charset: str = "utf8mb4") -> None:
        """Find driver and programs and make the system tables, as another user if this one is root."""
        need_mysql_driver()
        self._charset = charset
        found = shutil.which("mariadbd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        self._binary = need(found, "mariadbd", "install MariaDB (Debian: apt install mariadb-server)")
        super().__init__()
        self._as_user: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            self._as_user |= {"user": "mysql", "group": "mysql", "extra_groups": []}
            shutil.chown(self.directory, "mysql", "mysql")
        templates.copy("maria", self._make_system_tables, self.directory / "data")

    def _make_system_tables(self, template: Path) -> None:
        made = self.directory / "made"
        command = ("mariadb-install-db", "--no-defaults", f"--datadir={made}")
        options = ("--auth-root-authentication-method=normal", "--skip-test-db")
        subprocess.run([*command, *options], check=True, capture_output=True, **self._as_user)
        shutil.move(made, template)

    @property
    def database(self) -> dict[str, Any]:
        """What goes into Django's `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "immortus",
            "USER": "root",
            "HOST": f"{self.directory}/socket",
        }

    def _spawn(self) -> subprocess.Popen[bytes]:
        places = (f"--datadir={self.directory}/data", f"--socket={self.directory}/socket", "--skip-networking")
        init = self.directory / "init.sql"
        init.write_text(f"CREATE DATABASE IF NOT EXISTS immortus CHARACTER SET {self._charset};\n")
        return self._popen(self._binary, "--no-defaults", *places, f"--init-file={init}", **self._as_user)

    def _answers(self) -> bool:
        return (self.directory / "socket").exists()


class RabbitServer(Server):
    """A RabbitMQ, with the port mapper that Erlang wants, for guests only."""

    def __init__(self) -> None:
        """Find the programs."""
        found = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin:" + os.environ.get("PATH", ""))
        self._binary = need(found, "rabbitmq-server", "install RabbitMQ (Debian: apt install rabbitmq-server)")
        super().__init__()
        self._mapper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def _spawn(self) -> subprocess.Popen[bytes]:
        mapped, plugins, config = str(free_port()), self.directory / "plugins", self.directory / "rabbitmq.conf"
        plugins.write_text("[].")
        config.write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        environ = {
            **os.environ,
            "HOME": str(self.directory),
            "ERL_EPMD_PORT": mapped,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"rabbit{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.directory),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "none"),
        }
        self._mapper = self._popen("epmd", "-port", mapped, "-address", "127.0.0.1")
        return self._popen(self._binary, env=environ, start_new_session=True)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it with all that it has started, and the port mapper."""
        if self._process is not None:
            os.killpg(self.pid, signal.SIGKILL)
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
        super().stop()


def add_database(alias: str, database: dict[str, Any]) -> None:
    """Let Django know one more database, in this process, as if it were in `DATABASES`."""
    if database["ENGINE"].endswith("mysql"):
        need_mysql_driver()
    forget_database(alias)
    handler = type(connections)({"default": {}, alias: database})
    connections.settings[alias] = handler.settings[alias]


def forget_database(alias: str) -> None:
    """Close what this thread has open to it, and let Django know it no more."""
    if connections.settings.pop(alias, None) is not None and hasattr(connections._connections, alias):
        connections[alias].close()
        del connections[alias]
