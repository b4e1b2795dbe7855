"""transformers' own common tests on ArtQuant's classes: `make hf-tests`.

Brings the source distribution of the installed version, which holds them, takes those of models, configurations and processors, and runs
them. Those in LEFT_OUT fail for the reason that stands there; the run fails where another does, or where none of a kind does any more.
"""

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from artquant.core.home import home

COMMON = ("test_modeling_common.py", "test_configuration_common.py", "test_processing_common.py")
# Modules that those import and that the distribution lacks.
STUBS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "../fetch_hub_objects_for_ci.py": "def url_to_local_path(url):\n    return url\n",
}
HARNESS = "fills a batch of 3 up to 7 with rows that show no picture; tests/model/test_transformers.py compares both kinds of attention"
NAMES = "knows what has a loss, and how, from a list of transformers' own classes; tests/model/test_parity.py compares gradients"
IMAGES = "wants transformers' output class; engines share this method, which returns the tensor"
BEGINNING = "a prompt begins with <s> and its pieces are tokenised on their own, as published"
LEFT_OUT = {  # the beginning of the test's name -> why
    "test_eager_matches_sdpa_inference": HARNESS,
    "test_training": NAMES,
    "test_gradient_checkpointing_enable_disable": "wants transformers' layer class, whose import takes seconds that engines do not have",
    "test_get_image_features": IMAGES,
    "test_generation_tester_mixin_inheritance": "the generation tests are not in the distribution: tests/model/test_transformers.py",
    "test_apply_chat_template_image": BEGINNING,
    "test_apply_chat_template_assistant_mask": "needs the offsets of tokens, which pieces that are tokenised on their own do not have",
    "test_subprocessor_defaults_0_text": BEGINNING,
    "test_processor_text_has_no_visual": "fetches a picture from the hub",
}


def bring(folder: Path) -> Path:
    """Return the folder of the tests, downloaded where they are not there yet. Raises CalledProcessError."""
    name = f"transformers-{version('transformers')}"
    if not (folder / name).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = name.replace("-", "==", 1)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "transformers", wanted, "-d", str(folder)]
        subprocess.run(command, check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    tests = folder / name / "tests"
    suite = tests / "models" / "artquant" / "test_artquant.py"
    contents = {tests / path: content for path, content in STUBS.items()} | {suite: Path(__file__).with_name("suite.py").read_text()}
    for target, content in contents.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    for package in (tests, suite.parent, suite.parent.parent, *((tests / path).parent for path in STUBS if ".." not in path)):
        (package / "__init__.py").touch()
    return tests


def main() -> int:
    tests = bring((home() / "hf-tests").resolve())
    results = tests.parent / "results.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--tb=line",
        "-W",
        "ignore",
        f"--junitxml={results}",
        "-c",
        "/dev/null",
    ]
    subprocess.run([*command, f"--rootdir={tests.parent}", "tests/models/artquant", *sys.argv[1:]], cwd=tests.parent)
    cases = {case.attrib["name"]: case for case in ElementTree.parse(results).iter("testcase")}
    failed = {name for name, case in cases.items() if case.find("failure") is not None or case.find("error") is not None}
    skipped = {name for name, case in cases.items() if case.find("skipped") is not None}
    left_out = {name: start for name in cases for start in LEFT_OUT if name.startswith(start)}
    unexpected = failed - left_out.keys()
    mended = LEFT_OUT.keys() - {left_out[name] for name in failed & left_out.keys()}
    print(f"{len(cases)} tests: {len(cases) - len(failed) - len(skipped)} pass, {len(skipped)} do not apply, {len(failed)} fail")
    for start, reason in LEFT_OUT.items():
        print(f"  left out: {start}: {reason}")
    for name in sorted(unexpected):
        print(f"  fails, and is not left out: {name}")
    for name in sorted(mended):
        print(f"  is left out, and none of it fails: {name}")
    return int(bool(unexpected or mended))


if __name__ == "__main__":
    sys.exit(main())
