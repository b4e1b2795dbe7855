"""Outputs of the published code, kept beside the repository; tests that need them are skipped, with the reason, where they are absent."""

import json
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
FOLDER = SHARED / "reference"
needs_reference = pytest.mark.skipif(not FOLDER.is_dir(), reason="the published code's outputs (../shared/reference) are not here")


def tensors(name: str) -> dict:
    from safetensors.torch import load_file

    return load_file(FOLDER / f"{name}.safetensors")


def document(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())
