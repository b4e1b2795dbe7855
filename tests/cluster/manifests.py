"""The manifests as they are applied: `kubectl kustomize` of a folder of cluster/, each document held against its own schema."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.cluster.kuberay import FILE

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"
KUBERNETES, KUBERNETES_URI = "1.34.0", "https://kubernetes.io/api"
Document = dict[str, Any]


@cache
def built(folder: str) -> tuple[Document, ...]:
    """All documents of a folder, as the API server would get them."""
    tool = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    if not shutil.which(tool[0]):
        pytest.skip("neither kubectl nor kustomize is installed: the manifests cannot be put together")
    made = subprocess.run([*tool, str(CLUSTER / folder)], capture_output=True, text=True)
    assert made.returncode == 0 and not made.stderr, made.stderr
    return tuple(yaml.safe_load_all(made.stdout))


def of_kind(folder: str, *kinds: str) -> list[Document]:
    return [document for document in built(folder) if document["kind"] in kinds]


@cache
def kubernetes_folder() -> Path:
    """Kubernetes' own schemas in which no field is unknown, as the package kubernetes-validate carries them."""
    import kubernetes_validate

    return Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"


@cache
def definitions() -> Document:
    return json.loads((kubernetes_folder() / "_definitions.json").read_text())


@cache
def registry() -> Registry:
    resources = {f"{KUBERNETES_URI}/_definitions.json": definitions(), f"{KUBERNETES_URI}/kuberay.json": ray_schemas()}
    return Registry().with_resources((uri, Resource(document, DRAFT202012)) for uri, document in resources.items())


@cache
def ray_schemas() -> Document:
    schemas = json.loads(FILE.read_text())
    schemas["$defs"]["PodTemplateSpec"] = {"$ref": f"{KUBERNETES_URI}/_definitions.json#/$defs/io.k8s.api.core.v1.PodTemplateSpec"}
    return schemas


def faults(document: Document) -> list[str]:
    """What the API server would refuse in the document: 'spec.replicas: ...'."""
    kind = document["kind"]
    if document["apiVersion"] == "ray.io/v1":
        schema: Document = {"$ref": f"{KUBERNETES_URI}/kuberay.json#/$defs/{kind}"}
        document = document["spec"]
    else:
        group, _, version = document["apiVersion"].rpartition("/")
        name = "-".join(filter(None, [kind.lower(), group.partition(".")[0], version]))
        schema = json.loads((kubernetes_folder() / f"{name}.json").read_text())
    found = Draft202012Validator(schema, registry=registry()).iter_errors(document)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]


def pods(document: Document) -> Iterator[Document]:
    """Every pod template's spec in the document."""
    if isinstance(document, dict):
        if "containers" in document:
            yield document
        for value in document.values():
            yield from pods(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods(value)
