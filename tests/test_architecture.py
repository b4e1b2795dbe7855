"""Who may import whom: an import points down the house, ray stays in its rooms, and what needs no cluster runs without one."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("artquant", "jobs", "cluster", "bench", "tests")
ROOMS = (  # from top to bottom
    "artquant.cli",
    "artquant.scorer",
    "artquant.pipelines",
    "artquant.training",
    "artquant.report",
    "artquant.descriptions",
    "artquant.engines",
    "artquant.model",
    "artquant.registry",
    "artquant.results",
    "artquant.records",
    "artquant.agreement",
    "artquant.annotations",
    "artquant.paintings",
    "artquant.progress",
    "artquant.images",
    "artquant.storage",
    "artquant.config",
    "artquant.prompts",
    "artquant.core",
)
RAY = {
    "ray": ("artquant.cli", "artquant.pipelines", "artquant.training", "artquant.progress"),
    "ray.data": ("artquant.pipelines",),
    "ray.train": ("artquant.training",),
}
MAX_LINES = 300

Sources = dict[str, str]  # module (`a.b.__init__` for a package) -> text


def sources(*folders: str) -> Sources:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in paths}


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def room_of(module: str) -> str | None:
    if module == "artquant.__main__" or is_within(module, "jobs"):  # the command's other names
        return "artquant.cli"
    if module == "artquant.__init__":  # `artquant.load`
        return "artquant.scorer"
    return next((room for room in ROOMS if is_within(module, room)), None)


def imports(module: str, text: str) -> Iterator[str]:
    """All that a module names in imports, wherever they stand, and `ray.data` where it is used as an attribute of ray."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(module.split(".")[: -node.level]) if node.level else ""
            source = ".".join(filter(None, [package, node.module]))
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ray":
            yield f"ray.{node.attr}"


def violations(modules: Sources) -> list[str]:
    found = []
    for module, text in modules.items():
        room = room_of(module)
        for name in imports(module, text):
            target = room_of(name)
            if is_within(module, "cluster"):
                is_wrong = any(is_within(name, package) for package in OURS)
            elif target is None:
                is_wrong = any(is_within(name, package) for package in ("cluster", "bench", "tests"))
            else:
                is_wrong = room is None or ROOMS.index(target) < ROOMS.index(room)
            allowed = [rooms for package, rooms in RAY.items() if is_within(name, package)]
            if is_wrong or any(room not in rooms for rooms in allowed):
                found.append(f"{module} imports {name}")
    return sorted(set(found))


def cycle(modules: Sources) -> list[str]:
    """Modules that import each other in a circle, or nothing."""

    def module_of(name: str) -> str | None:  # `from a.b import c` names the module a.b.c, or c in the module a.b
        parent = name.rpartition(".")[0]
        return next((known for known in (name, f"{name}.__init__", parent, f"{parent}.__init__") if known in modules), None)

    graph = {module: {module_of(name) for name in imports(module, text)} - {module, None} for module, text in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_import_points_to_a_room_further_down_and_ray_stays_in_its_rooms():
    modules = sources("artquant", "jobs", "cluster")
    assert {room_of(module) for module in modules if not is_within(module, "cluster")} == set(ROOMS), (
        "a room is empty: the test looks in the wrong place"
    )
    assert violations(modules) == []


def test_no_modules_import_each_other_in_a_circle():
    assert cycle(sources("artquant")) == []


@pytest.mark.parametrize(
    ("module", "text", "what"),
    [
        ("artquant.core.scale", "from artquant.model import MPLUGOwl2Config", "artquant.model.MPLUGOwl2Config"),
        ("artquant.results.plan", "def f():\n    import artquant.report.page", "artquant.report.page"),
        ("artquant.engines.__init__", "if TYPE_CHECKING:\n    from artquant.cli import home", "artquant.cli.home"),
        ("artquant.model.__init__", "from ..engines import halving", "artquant.engines.halving"),
        ("artquant.paintings.render", "from artquant import results", "artquant.results"),
        ("artquant.images.square", "try:\n    import ray\nexcept ImportError:\n    ray = None", "ray"),
        ("artquant.training.loop", "from ray import data", "ray.data"),
        ("artquant.pipelines.score", "import ray.train.torch", "ray.train.torch"),
        ("artquant.cli.home", "import ray\nx = ray.data.range(3)", "ray.data"),
        ("artquant.pipelines.score", "from bench.engine import main", "bench.engine.main"),
        ("cluster.check", "from artquant.config import ScoreSpec", "artquant.config.ScoreSpec"),
    ],
)
def test_the_check_finds_what_breaks_a_rule(module, text, what):
    assert violations({module: text}) == [f"{module} imports {what}"]


def test_the_check_lets_pass_what_keeps_the_rules():
    modules = {
        "artquant.pipelines.score": "import ray, ray.data\nfrom artquant.results.plan import Plan\nray.data.range(3)\nimport raydar",
        "artquant.training.loop": "from ray.train import report\nfrom artquant.engines import Engine",
        "artquant.cli.score": "from artquant.pipelines import score\nimport ray",
        "artquant.paintings.render": "from artquant.core.scale import Scale\nfrom .brush import canvas",
    }
    assert violations(modules) == []


def test_the_check_finds_a_circle_through_packages_and_functions():
    circle = {
        "artquant.a": "from artquant import b",
        "artquant.b.__init__": "def f():\n    from .c import g",
        "artquant.b.c": "from ..a import h",
    }
    assert set(cycle(circle)) == set(circle)
    assert cycle({**circle, "artquant.b.c": "import os"}) == []


@pytest.mark.parametrize("folder", ["artquant", "jobs", "bench"])
def test_no_file_passes_three_hundred_lines(folder):
    lengths = {module: len(text.splitlines()) for module, text in sources(folder).items()}
    assert lengths and {module: length for module, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.slow
def test_the_network_and_the_torch_engine_run_without_cluster_store_and_picture_libraries():
    program = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "pyarrow", "s3fs", "obstore", "simplejpeg"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import artquant.model.checkpoint
import artquant.engines.torch_engine
import artquant.engines.chat_engine
try:
    import obstore
except ModuleNotFoundError:
    print("absent")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "absent\n", done.stderr[-2000:]
