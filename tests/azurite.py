"""Azure's emulator, where ARTQUANT_AZURITE names its command: `make azure-tests` brings it and sets that."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

AZURITE = os.environ.get("ARTQUANT_AZURITE")
CONTAINER, ACCOUNT = "tests", "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # of every emulator, and public


@contextmanager
def azurite(folder: Path) -> Iterator[dict[str, str]]:
    """Run the emulator with a container for the block; yield the environment that finds it."""
    assert AZURITE
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [AZURITE, "--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                create_container(endpoint)
                break
            except ConnectionError:
                assert server.poll() is None and time.monotonic() < deadline, "the emulator did not start"
                time.sleep(0.2)
        yield {"AZURE_STORAGE_ENDPOINT": endpoint, "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}
    finally:
        server.terminate()
        server.wait(30)


def create_container(endpoint: str) -> None:
    """Ask for it as Azure's documentation of Shared Key says; the native client cannot."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed = "PUT" + "\n" * 12 + f"{named}/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    try:
        urllib.request.urlopen(
            urllib.request.Request(f"{endpoint}/{CONTAINER}?restype=container", method="PUT", headers=headers), timeout=10
        )
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            raise error.reason from error
        raise
