"""What is applied to Kubernetes is valid, says what the code says, and gives no more than is needed."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from artquant.cli.help import JOBS
from artquant.cli.main import main, spec_of
from artquant.config import load_spec
from artquant.core.errors import AnotherRun, Held, UserError
from tests.cluster.manifests import CLUSTER, built, faults, of_kind, pods

ROOT = CLUSTER.parent
SMALL = "overlays/small"
RAYS_PORTS = {"gcs": 6379, "dashboard": 8265, "metrics": 8080}
NOT_OURS = {"RAY_USAGE_STATS_ENABLED", "HF_HUB_OFFLINE", "AWS_REGION"}


@pytest.mark.parametrize("folder", ["base", SMALL, "raycluster"])
def test_every_field_that_is_set_is_known_to_kubernetes_or_the_operator(folder: str) -> None:
    assert {f"{one['kind']} {one['metadata']['name']}": found for one in built(folder) if (found := faults(one))} == {}


def test_a_field_that_is_not_known_or_of_another_kind_is_found() -> None:
    (job,) = (one for one in of_kind(SMALL, "RayJob") if one["metadata"]["name"] == "artquant-score")
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]
    spoilt: list[dict[str, Any]] = [
        {"spec": job["spec"] | {"onFailure": "retry"}},
        {"spec": job["spec"] | {"backoffLimit": "0"}},
        {
            "spec": job["spec"]
            | {"rayClusterSpec": job["spec"]["rayClusterSpec"] | {"headGroupSpec": head | {"template": {"spec": {"image": 1}}}}}
        },
    ]
    assert all(faults(job | change) for change in spoilt)
    (quota,) = of_kind(SMALL, "ResourceQuota")
    assert faults(quota | {"spec": {"limit": {}}})


@pytest.mark.parametrize("job", JOBS)
def test_each_job_is_the_codes_own_command_with_settings_that_it_takes(job: str) -> None:
    (made,) = (one for one in of_kind(SMALL, "RayJob") if one["metadata"]["name"] == f"artquant-{job}")
    program, name, config = made["spec"]["entrypoint"].split()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts[program].partition(":")
    assert callable(getattr(import_module(module), function)) and name == job
    (settings,) = (one for one in of_kind(SMALL, "ConfigMap") if one["metadata"]["name"] == "artquant-settings")
    mounted = {
        mount["mountPath"] for pod in pods(made["spec"]["rayClusterSpec"]) for one in pod["containers"] for mount in one["volumeMounts"]
    }
    folder, _, file = config.removeprefix("config=").rpartition("/")
    assert folder in mounted and file in settings["data"]
    given = yaml.safe_load(settings["data"][file])
    assert given["output"].startswith("s3://"), "a job whose place is not said would write into a store of its own on the head"
    load_spec(spec_of(job), None, []).model_validate(given)


def test_ports_are_those_that_the_settings_and_ray_open() -> None:
    (settings,) = (one for one in of_kind(SMALL, "ConfigMap") if one["metadata"]["name"] == "artquant-settings")
    watch = yaml.safe_load(settings["data"]["score.yaml"])["watch"]
    expected = RAYS_PORTS | {"job-metrics": watch["metrics_port"]}
    for job in of_kind(SMALL, "RayJob"):
        head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
        assert {port["name"]: port["containerPort"] for port in head["spec"]["containers"][0]["ports"]} == expected
        assert head["metadata"]["annotations"]["prometheus.io/port"] == str(watch["metrics_port"])
    (outside,) = (one for one in of_kind(SMALL, "NetworkPolicy") if one["metadata"]["name"] == "artquant-from-outside")
    opened = {port["port"] for rule in outside["spec"]["ingress"] for port in rule["ports"]}
    assert opened == set(expected.values()) and watch["metrics_host"] == "0.0.0.0"


def test_every_variable_is_one_that_somebody_reads() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "artquant").rglob("*.py")) + (CLUSTER / "base" / "night.py").read_text()
    read = set(re.findall(r"\"([A-Z][A-Z0-9_]{3,})\"", code)) | NOT_OURS
    named = {one["name"] for document in built(SMALL) for pod in pods(document) for box in pod["containers"] for one in box.get("env", ())}
    for one in of_kind(SMALL, "ConfigMap"):
        if one["metadata"]["name"] == "artquant-store":
            named |= one["data"].keys()
    assert named and named - read == set()


def test_images_are_named_by_digest_and_are_those_that_are_built() -> None:
    used = {box["image"] for document in built(SMALL) for pod in pods(document) for box in pod["containers"]}
    assert all(re.fullmatch(r"[\w./-]+@sha256:[0-9a-f]{64}", image) for image in used)
    names = {image.partition("@")[0].rpartition("/")[2] for image in used}
    assert names == {f"artquant-{path.suffix[1:]}" for path in (CLUSTER / "images").glob("Dockerfile.*")}


def test_the_codes_that_must_not_be_retried_are_those_that_mean_so() -> None:
    night = import_night()
    no_use = {error.exit_code for error in (UserError, AnotherRun, Held)}
    assert set(night.NO_RETRY) == no_use
    for cron in nights():
        spec = cron["spec"]["jobTemplate"]["spec"]
        (rule,) = (one for one in spec["podFailurePolicy"]["rules"] if one["action"] == "FailJob")
        assert set(rule["onExitCodes"]["values"]) == no_use
        assert rule["onExitCodes"]["containerName"] == spec["template"]["spec"]["containers"][0]["name"]
        assert spec["template"]["spec"]["restartPolicy"] == "Never", "a pod failure policy needs it"
    assert {job["spec"]["backoffLimit"] for job in of_kind(SMALL, "RayJob")} == {0}


def nights() -> list[dict[str, Any]]:
    """The schedules that make jobs."""
    found = [one for one in of_kind(SMALL, "CronJob") if one["metadata"]["name"] != "artquant-probe"]
    assert len(found) == len(JOBS)
    return found


def test_the_probe_reads_where_the_nights_write_and_tells_whom_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    (probe,) = (one for one in of_kind(SMALL, "CronJob") if one["metadata"]["name"] == "artquant-probe")
    (settings,) = (one for one in of_kind(SMALL, "ConfigMap") if one["metadata"]["name"] == "artquant-settings")
    score = yaml.safe_load(settings["data"]["score.yaml"])
    (pod,) = pods(probe)
    program, *arguments = pod["containers"][0]["command"]
    assert (program, pod["serviceAccountName"]) == ("artquant", "artquant-read")
    asked: list[tuple[str, str, list[str]]] = []
    monkeypatch.setattr("artquant.cli.snapshots.act", lambda store, command, names: asked.append((store.uri, command, names)) or 0)
    monkeypatch.setattr("artquant.cli.snapshots.as_trusted", lambda store: store)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert main(arguments) == 0
    assert asked == [(score["output"], "metrics", [score["watch"]["push_gateway"]])]


def import_night() -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("night", CLUSTER / "base" / "night.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_applying_starts_nothing_and_one_schedule_is_awake() -> None:
    assert all(job["spec"]["suspend"] for job in of_kind(SMALL, "RayJob"))
    awake = [one["metadata"]["name"] for one in of_kind(SMALL, "CronJob", "RayCronJob") if not one["spec"]["suspend"]]
    assert sorted(awake) == ["artquant-probe", "artquant-score"]
    (operators,) = of_kind(SMALL, "RayCronJob")
    assert "suspend" not in operators["spec"]["jobTemplate"], "its jobs would wait for ever"
    (job,) = (one for one in of_kind(SMALL, "RayJob") if one["metadata"]["name"] == "artquant-score")
    assert operators["spec"]["jobTemplate"] | {"suspend": True} == job["spec"]
    for cron in of_kind(SMALL, "CronJob"):
        assert cron["spec"]["concurrencyPolicy"] == "Forbid" and cron["spec"]["startingDeadlineSeconds"] > 0
    for cron in nights():
        (template,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
        assert template in {one["metadata"]["name"] for one in of_kind(SMALL, "RayJob")}


def test_pods_run_as_nobody_with_their_memory_and_disk_bounded_and_time_to_go() -> None:
    accounts = {one["metadata"]["name"] for one in of_kind(SMALL, "ServiceAccount")}
    assert accounts == {"artquant-submit", "artquant-run", "artquant-read"}
    for document in built(SMALL):
        for pod in pods(document):
            assert pod["securityContext"]["runAsNonRoot"] and pod["serviceAccountName"] in accounts
            for box in pod["containers"]:
                limits, requests = box["resources"]["limits"], box["resources"]["requests"]
                for resource in ("memory", "ephemeral-storage"):
                    assert limits[resource] == requests[resource]
                assert box["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}} | (
                    {"readOnlyRootFilesystem": True} if box["name"] in ("night", "probe") else {}
                )
            for volume in pod.get("volumes", ()):
                assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]
            if pod["containers"][0]["name"].startswith("ray-") and "submitter" not in pod["containers"][0]["name"]:
                assert pod["terminationGracePeriodSeconds"] >= 60 and pod["priorityClassName"] == "artquant-night"


def test_engines_start_from_nothing_on_nodes_that_may_be_taken_away_and_fetching_does_not() -> None:
    groups = of_kind("raycluster", "RayCluster")[0]["spec"]["workerGroupSpecs"]
    by_name = {group["groupName"]: group for group in groups}
    assert set(by_name) == {"cpu", "gpu"} and all(group["minReplicas"] == 0 for group in groups)
    cpu, gpu = (by_name[name]["template"]["spec"] for name in ("cpu", "gpu"))
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1" and "spot" in str(gpu["nodeSelector"])
    assert "nvidia.com/gpu" not in str(cpu) and "nodeSelector" not in cpu


def test_the_cluster_can_give_what_the_settings_ask_for() -> None:
    (settings,) = (one for one in of_kind(SMALL, "ConfigMap") if one["metadata"]["name"] == "artquant-settings")
    (quota,) = of_kind(SMALL, "ResourceQuota")
    spec = yaml.safe_load(settings["data"]["score.yaml"])
    for job in of_kind(SMALL, "RayJob"):
        groups = {group["groupName"]: group for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
        num_gpus = groups["gpu"]["maxReplicas"]
        assert (
            spec["engine"]["num_workers"] * spec["engine"]["num_gpus"] <= num_gpus == int(quota["spec"]["hard"]["requests.nvidia.com/gpu"])
        )


def test_nothing_reaches_the_pods_or_leaves_them_but_what_is_named() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(SMALL, "NetworkPolicy")}
    deny = policies["artquant-deny"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (settings,) = (one for one in of_kind(SMALL, "ConfigMap") if one["metadata"]["name"] == "artquant-settings")
    gateway = urlsplit(yaml.safe_load(settings["data"]["score.yaml"])["watch"]["push_gateway"])
    out = [port for rule in policies["artquant-to-outside"]["egress"] for port in rule["ports"]]
    assert {(one["protocol"], one["port"]) for one in out} == {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 6443), ("TCP", gateway.port)}
    labelled = policies["artquant-among-themselves"]["podSelector"]["matchLabels"]
    templates = [part for job in of_kind(SMALL, "RayJob") for part in templates_of(job["spec"])]
    assert len(templates) == 4 * 4 and all(labelled.items() <= one["metadata"]["labels"].items() for one in templates)


def templates_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [spec["submitterPodTemplate"], *(group["template"] for group in groups)]


def test_the_ray_version_is_the_one_that_is_pinned() -> None:
    (pinned,) = re.findall(r"^ray==([\d.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert {job["spec"]["rayClusterSpec"]["rayVersion"] for job in of_kind(SMALL, "RayJob")} == {pinned}
    assert {job["spec"]["rayClusterSpec"]["authOptions"]["mode"] for job in of_kind(SMALL, "RayJob")} == {"token"}


def test_only_the_account_that_submits_makes_jobs_and_nobody_reads_secrets() -> None:
    roles = {one["metadata"]["name"]: one["rules"] for one in of_kind(SMALL, "Role")}
    may = {
        name: {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
        for name, rules in roles.items()
    }
    assert {name for name, allowed in may.items() if ("rayjobs", "create") in allowed} == {"artquant-submit"}
    assert not [1 for allowed in may.values() for resource, verb in allowed if resource in ("secrets", "*") or verb == "*"]
    assert {verb for _, verb in may["artquant-read"]} == {"get", "list", "watch"}


def test_ray_up_gets_a_file_that_ray_takes(tmp_path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((CLUSTER / "ray-up.yaml").read_text())
    validate_config(prepare_config(config))
    groups = config["available_node_types"]
    assert groups["gpu"]["min_workers"] == 0 and groups["gpu"]["resources"]["GPU"] == 1 and config["head_node_type"] == "head"
