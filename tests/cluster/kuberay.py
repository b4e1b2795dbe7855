"""The operator's own schemas, in the form that the tests keep.

`python -m tests.cluster.kuberay FOLDER` writes kuberay.json anew from the custom resource definitions of a KubeRay release (1.7.0:
ray.io_rayclusters.yaml and so on, in helm-chart/kuberay-operator/crds). Descriptions go, pod templates are Kubernetes' own, and what one
kind takes over from another is said once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("kuberay.json")
KINDS = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayCronJob": "raycronjobs"}
_KEPT = ("type", "enum", "required", "pattern", "minimum", "maximum", "minItems", "maxItems", "minLength", "x-kubernetes-int-or-string")

Schema = dict[str, Any]


def compact(schema: Schema, known: dict[str, Schema]) -> Schema:
    """Return the schema as JSON Schema in which no field is unknown; one that equals an entry of `known` becomes a reference to it."""
    for name, other in known.items():
        if schema == other:
            return {"$ref": f"#/$defs/{name}"}
    properties = schema.get("properties", {})
    if {"metadata", "spec"} == properties.keys() and "containers" in properties["spec"].get("properties", {}):
        return {"$ref": "#/$defs/PodTemplateSpec"}
    kept = {name: schema[name] for name in _KEPT if name in schema}
    if kept.pop("x-kubernetes-int-or-string", False):
        kept["type"] = ["integer", "string"]
    if properties:
        kept |= {"properties": {name: compact(value, known) for name, value in properties.items()}, "additionalProperties": False}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            kept[name] = compact(schema[name], known)
    return kept


def schemas(folder: Path) -> Schema:
    """Return one JSON Schema with the spec of each kind under `$defs`."""
    known: dict[str, Schema] = {}
    made: dict[str, Schema] = {}
    for kind, plural in KINDS.items():
        definition = next(filter(None, yaml.load_all((folder / f"ray.io_{plural}.yaml").read_text(), Loader=yaml.CSafeLoader)))
        (version,) = (one for one in definition["spec"]["versions"] if one["name"] == "v1")
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        made[kind] = compact(spec, known)
        known[kind] = spec
    return {"$defs": made}


if __name__ == "__main__":
    FILE.write_text(json.dumps(schemas(Path(sys.argv[1])), indent=1, sort_keys=True) + "\n")
