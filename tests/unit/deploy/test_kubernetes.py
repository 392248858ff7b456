"""The manifests are what Kubernetes and KEDA understand, and what a careful cluster lets in."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "deploy/kubernetes"
VERSION = "1.37"
PROGRAMS = {"api", "worker", "scheduler", "migrations"}


def kustomization():
    return yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))


def manifests():
    found: list[dict[str, Any]] = []
    for name in kustomization()["resources"]:
        found += yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
    return found


def named(one):
    return f"{one['kind']}-{one['metadata']['name']}"


OURS = [one for one in manifests() if not one["apiVersion"].startswith("keda.sh/")]
KEDAS = [one for one in manifests() if one["apiVersion"].startswith("keda.sh/")]
PODS = [one for one in OURS if "template" in one.get("spec", {})]


@pytest.mark.parametrize("manifest", OURS, ids=named)
def test_a_manifest_is_valid_to_the_last_field(manifest):
    kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("manifest", KEDAS, ids=named)
def test_a_resource_of_keda_is_valid_to_the_last_field(manifest):
    schema = json.loads((FOLDER / "keda.schema.json").read_text("utf-8"))
    jsonschema.validate(manifest, schema)


def test_a_wrong_manifest_is_found():
    wrong = {**OURS[0], "spec": {"finalisers": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_every_file_of_the_folder_is_used():
    used = {*kustomization()["resources"], "kustomization.yaml", "gateway.yaml", "keda.schema.json"}
    assert {path.name for path in FOLDER.iterdir()} == used


def test_every_program_of_the_product_runs():
    assert {one["metadata"]["name"] for one in PODS} == PROGRAMS


@pytest.mark.parametrize("manifest", PODS, ids=named)
def test_a_pod_has_no_right_that_it_does_not_need(manifest):
    pod = manifest["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("manifest", PODS, ids=named)
def test_no_secret_is_written_down_and_every_volume_is_there(manifest):
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for variable in container["env"]:
        is_secret = variable["name"].endswith(("_URL", "_KEY"))
        assert is_secret == ("secretKeyRef" in variable.get("valueFrom", {}))
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_services_budgets_and_scalers_name_pods_that_exist():
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in PODS]
    for one in OURS:
        if one["kind"] in {"Service", "PodDisruptionBudget"}:
            selector = one["spec"]["selector"]
            assert selector.get("matchLabels", selector) in labels
    (scaled,) = [one for one in KEDAS if one["kind"] == "ScaledObject"]
    assert scaled["spec"]["scaleTargetRef"]["name"] in PROGRAMS


def test_a_worker_has_time_to_finish_its_longest_call():
    (worker,) = [one for one in PODS if one["metadata"]["name"] == "worker"]
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 330
    assert "replicas" not in worker["spec"], "KEDA decides how many there are"


def test_the_images_are_those_that_are_built():
    built = {image["name"] for image in kustomization()["images"]}
    used = {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in PODS}
    assert used == built
