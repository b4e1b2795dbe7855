"""What is installed from a wheel: one package with all that it reads, and a command that runs from any folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT

DATA = {".yaml", ".html", ".css", ".safetensors", ".json", ".jinja", ".model", ".txt"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "artquant", source / "artquant", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("jobs", "tests"):  # beside the package, and not in the wheel
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-q",
        "-w",
        str(folder),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_a_wheel_is_the_package_alone_with_all_that_it_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"artquant", "artquant_jobs"}
    ours = [path for path in (ROOT / "artquant").rglob("*") if path.suffix in DATA | {".py"}]
    assert [path for path in ours if str(path.relative_to(ROOT)) not in names] == []
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    points = zipfile.ZipFile(wheel).read(entry).decode()
    assert "artquant = artquant.cli.main:command" in points and "vllm.general_plugins" in points


def test_the_installed_command_runs_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(target / "bin" / "artquant"), *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert (shown := run("score", "--help")).returncode == 0 and "engine.batch_size=whole number" in shown.stdout, shown.stderr
    assert (refused := run("score", "input=/a")).returncode == 2 and refused.stderr.startswith("artquant: input is given and output is not")
    assert run("--version").stdout.startswith("artquant 0.")
    assert not (tmp_path / ".artquant").exists()
