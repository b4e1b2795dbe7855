from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from artquant.core.errors import UserError
from artquant.storage.embedded import EmbeddedStore
from artquant.storage.store import open_store
from tests.processes import eventually
from tests.stores import enter


def listening_addresses(pid: int) -> set[str]:
    """The local addresses, as in 127.0.0.1:80 or [v6 hex]:80, on which the process `pid` listens for TCP."""
    sockets = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(handle)):
            sockets.add(found[1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in sockets:
                host, port = columns[1].split(":")
                name = socket.inet_ntoa(bytes.fromhex(host)[::-1]) if table == "tcp" else f"[{host}]"
                addresses.add(f"{name}:{int(port, 16)}")
    return addresses


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_restart_keeps_the_data_the_key_pair_and_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedStore(tmp_path / "new" / "folder") as server:
        first = server.environment
        enter(server, monkeypatch, "x").put("k", b"kept")
        port = server.port
    assert port and not is_open(port)
    assert not list(Path("/tmp").glob(f"seaweedfs-*-{port}.sock"))
    with EmbeddedStore(tmp_path / "new" / "folder") as server:
        assert server.environment == first
        store = enter(server, monkeypatch, "x")
        assert store.get("k") == b"kept"
        assert [info.key for info in open_store("s3://artquant").list()] == ["x/k"]
    assert stat.S_IMODE((tmp_path / "new" / "folder" / "s3.json").stat().st_mode) == 0o600


def test_two_side_by_side_are_strangers_and_listen_on_loopback_alone(
    s3_server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-users-own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-users-own-secret")
    with EmbeddedStore(tmp_path) as other:
        with pytest.raises(UserError, match="denied"):
            open_store("s3://artquant").check_readable()  # the server must not take the keys of its environment for its own
        store = enter(other, monkeypatch, "x")
        store.put("mine", b"x")
        for server in (s3_server, other):
            assert server._server
            addresses = listening_addresses(server._server.pid)
            assert f"127.0.0.1:{server.port}" in addresses
            assert {address for address in addresses if not address.startswith("127.0.0.1:")} == set()
        assert not listening_addresses(other._server.pid) & listening_addresses(s3_server._server.pid)  # type: ignore[union-attr]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{other.environment['AWS_ENDPOINT_URL']}/artquant/x/mine", timeout=60)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.environment["AWS_ENDPOINT_URL"])
        with pytest.raises(UserError, match="denied"):
            open_store("s3://artquant").check_readable()


def test_a_folder_in_use_or_unusable_is_refused_with_a_sentence(s3_server: EmbeddedStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"in use by process {os.getpid()}: end that one, or choose another folder"):
        EmbeddedStore(s3_server.directory).start()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot use .*/file/below"):
        EmbeddedStore(tmp_path / "file" / "below").start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = EmbeddedStore(tmp_path).environment


def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(b"a file where the folder should be")
    with pytest.raises(UserError, match="cannot use"):
        EmbeddedStore(tmp_path).start()
    (tmp_path / "data").unlink()
    (tmp_path / "s3.json").write_text("{broken")
    with pytest.raises(UserError, match=r"s3\.json holds no key pair"):
        EmbeddedStore(tmp_path).start()
    (tmp_path / "s3.json").unlink()
    monkeypatch.setattr("artquant.storage.embedded._TRIES", 1)
    (tmp_path / "data" / "filerldb2").write_bytes(b"not a database")
    server = EmbeddedStore(tmp_path)
    with pytest.raises(UserError, match="(?s)did not start; its last words:.*Not a valid folder"):
        server.start()
    (tmp_path / "data" / "filerldb2").unlink()
    with server:  # nothing of the failed start is in the way
        assert server.port


def test_a_port_taken_since_last_time_is_left_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedStore(tmp_path) as server:
        enter(server, monkeypatch, "x").put("k", b"kept")
        port = server.port
    assert port
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port + 10_002))
        squatter.listen()
        with EmbeddedStore(tmp_path) as server:
            assert server.port != port
            assert enter(server, monkeypatch, "x").get("k") == b"kept"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_server_ends_with_its_owner_and_acknowledged_writes_survive(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "artquant.storage.embedded", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        try:
            exports: dict[str, str] = {}
            while len(exports) < 4:
                line = owner.stdout.readline()
                assert line, "the server said good-bye before it said how to connect"
                if found := re.fullmatch(r"\s*export (\w+)=(\S+)\n", line):
                    exports[found[1]] = found[2]
            for name, value in exports.items():
                monkeypatch.setenv(name, value)
            port = int(exports["AWS_ENDPOINT_URL"].rpartition(":")[2])
            store = open_store("s3://artquant")
            for index in range(50):
                store.put(f"k/{index}", b"kept")
            owner.send_signal(number)
            assert owner.wait(60) == (0 if number == signal.SIGINT else -number)
        finally:
            owner.kill()
    with EmbeddedStore(tmp_path) as server:  # at once: it waits for the end of the orphan
        assert len(list(enter(server, monkeypatch, "x").list())) == 0
        assert {open_store("s3://artquant").get(f"k/{index}") for index in range(50)} == {b"kept"}
        assert server.port == port
    assert eventually(lambda: not is_open(port))


def test_the_command_refuses_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for arguments in ([], ["--help"], [str(tmp_path / "file")]):
        done = subprocess.run([sys.executable, "-m", "artquant.storage.embedded", *arguments], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert "usage" in done.stderr or "cannot use" in done.stderr
