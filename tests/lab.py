"""Several hosts on one machine: network namespaces on one switch, each with an address, a host name and a /tmp/ray of its own.

A head, workers, an S3 server and a client that submits to them. Needs root and `ip` (iproute2).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import psutil

from artquant.storage.embedded import BUCKET, EmbeddedStore
from tests.processes import ROOT, eventually, heed_interrupts

RAY_PORT, DASHBOARD_PORT, STORE_DOWN_SECONDS = 6379, 8265, 20
# Ray takes a host that is silent for half a minute for dead; here a third of it does.
TIMERS = {"RAY_health_check_period_ms": "2000", "RAY_health_check_timeout_ms": "4000", "RAY_health_check_failure_threshold": "3"}
_SERVE = """
import sys, threading
from artquant.storage.embedded import EmbeddedStore
with EmbeddedStore(sys.argv[1], sys.argv[2]) as store:
    print(store.port, flush=True)
    threading.Event().wait()
"""


def why_not() -> str | None:
    """Why there can be no lab here; None where there can."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        return "network namespaces need root, and ip of iproute2"
    name = f"aq{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Host:
    """One machine of the lab. `address` is on its own side of a cable to the switch."""

    def __init__(self, lab: Lab, name: str, number: int):
        self.lab, self.name, self.namespace, self.address = lab, name, f"{lab.prefix}-{name}", f"{lab.network}.{number}"
        self.main: psutil.Popen | None = None  # the process whose end is the host's
        self.folder = lab.folder / name
        (self.folder / "ray").mkdir(parents=True, exist_ok=True)
        cable = f"{lab.prefix}n{number}"
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "add", "eth0", "type", "veth", "peer", "name", cable, "netns", lab.switch)
        ip("-n", lab.switch, "link", "set", cable, "master", "br0", "up")
        ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self.namespace, "link", "set", device, "up")
        # Never used: Ray finds out its own address by asking the kernel for the way to the internet.
        ip("-n", self.namespace, "route", "add", "default", "via", f"{lab.network}.254", "dev", "eth0")

    def start(self, *command: str, stdout: int = subprocess.DEVNULL, stderr: int | None = None, **environment: str) -> psutil.Popen:
        enter = 'hostname "$0"; mkdir -p /tmp/ray; mount --bind "$1" /tmp/ray; shift; exec "$@"'
        line = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", enter, self.name, str(self.folder / "ray"), *command]
        with open(self.folder / "log", "ab") as log:
            return psutil.Popen(
                line,
                cwd=ROOT,
                env=self.lab.environment | environment,
                stdout=stdout,
                stderr=stderr or log,
                text=True,
                start_new_session=True,
                preexec_fn=heed_interrupts,
            )

    def processes(self) -> list[psutil.Process]:
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True).stdout
        found = []
        for pid in listed.split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found

    def named(self, text: str) -> list[psutil.Process]:
        """Its processes with `text` in their command lines."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if text in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def kill(self) -> None:
        """Power off: every process, at once."""
        while alive := [process for process in self.processes() if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]:
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(alive, timeout=5)
        if self.main:
            self.main.wait(10)
        self.main = None

    def cut(self) -> None:
        """Pull the cable: what is sent to it and by it is lost, and nobody is told."""
        ip("-n", self.namespace, "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        ip("-n", self.namespace, "route", "replace", "default", "via", f"{self.lab.network}.254", "dev", "eth0")

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def remove(self) -> None:
        self.kill()
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True)


class Lab:
    """A switch, the store and a client; `head` and `worker` start the others."""

    def __init__(self, folder: Path):
        self.folder, self.prefix = folder, f"aq{os.getpid()}"
        self.switch, self.network = f"{self.prefix}-switch", f"10.231.{os.getpid() % 250 + 1}"
        self.hosts: dict[str, Host] = {}
        self.head_address = f"{self.network}.1"
        (folder / "token").write_text(secrets.token_hex(32))

    @cached_property
    def environment(self) -> dict[str, str]:
        """Of every process: the token, and a store that all reach. Filled when the store is up."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_")) and name != "PYTHONPATH"}
        direct = ",".join(["127.0.0.1", "localhost", *(f"{self.network}.{number}" for number in range(1, 20))])
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"), "RAY_USAGE_STATS_ENABLED": "0"}
        return inherited | path | token | TIMERS | {"NO_PROXY": direct, "no_proxy": direct, "PYTHONPATH": str(ROOT)}

    def build(self) -> None:
        remove_left_over()
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for number, name in enumerate(("head", "store", "client"), 1):
            self.hosts[name] = Host(self, name, number)
        self.start_store()

    def start_store(self) -> None:
        host = self.hosts["store"]
        host.main = host.start(sys.executable, "-c", _SERVE, str(self.folder / "store-data"), host.address, stdout=subprocess.PIPE)
        server = EmbeddedStore(self.folder / "store-data", host.address)
        server.port = int(host.main.stdout.readline())
        self.environment.update({name: value for name, value in server.environment.items() if name.startswith("AWS_")})

    def start_head(self, num_cpus: float = 0) -> None:
        options = [f"--port={RAY_PORT}", "--dashboard-host=0.0.0.0", f"--dashboard-port={DASHBOARD_PORT}", f"--num-cpus={num_cpus}"]
        # Not in the foreground: where one part of a head dies, as that for old clients does on a busy machine, all of it would end.
        self._start_ray(self.hosts["head"], "--head", *options)
        knock = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
        knocking = [sys.executable, "-c", knock, self.head_address, str(DASHBOARD_PORT)]
        assert eventually(lambda: self.hosts["client"].start(*knocking).wait(30) == 0, 120), self.hosts["head"].said()

    def start_worker(self, name: str, num_cpus: float = 3) -> Host:
        host = self.hosts.get(name) or Host(self, name, len(self.hosts) + 1)
        self.hosts[name] = host
        self._start_ray(host, "--block", f"--address={self.head_address}:{RAY_PORT}", f"--num-cpus={num_cpus}")
        return host

    def _start_ray(self, host: Host, *options: str) -> None:
        memory = "--object-store-memory=200000000"
        program = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={host.address}", memory]
        host.main = host.start(*program, *options)

    def submit(self, output: str, *settings: str) -> psutil.Popen:
        return self.run("score", output, f"input=s3://{BUCKET}/art", "engine.critique=false", "stale_seconds=8", *settings)

    def run(self, job: str, output: str, *settings: str) -> psutil.Popen:
        """The command of a person at the client; its stdout and stderr go to the file `said`."""
        line = [sys.executable, "-m", "artquant", job, f"output=s3://{BUCKET}/{output}", "model=tiny", *settings]
        where = {"RAY_ADDRESS": f"http://{self.head_address}:{DASHBOARD_PORT}"}
        with open(self.said, "wb") as said:
            return self.hosts["client"].start(*line, stdout=said.fileno(), stderr=subprocess.STDOUT, **where)

    @property
    def said(self) -> Path:
        return self.folder / "said"

    def ask(self, program: str, *arguments: str, at: str = "client") -> str:
        """What a Python program prints there."""
        asked = self.hosts[at].start(sys.executable, "-c", program, *arguments, stdout=subprocess.PIPE)
        answer, _ = asked.communicate(timeout=120)
        assert asked.returncode == 0, self.hosts[at].said()
        return answer

    def remove(self) -> None:
        for host in self.hosts.values():
            host.remove()
        subprocess.run(["ip", "netns", "del", self.switch], capture_output=True)


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A lab for the block. Nothing of it is left after it, however it ends."""
    made = Lab(folder)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def remove_left_over() -> None:
    """What labs left whose process was killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    for name, pid in re.findall(r"^(aq(\d+)-\S+)", listed, re.MULTILINE):
        if not psutil.pid_exists(int(pid)):
            for process in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
