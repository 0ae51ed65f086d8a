"""The files of ``deploy/``, parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE_FILE = DEPLOY / "compose.yaml"
KUBERNETES_FILE = DEPLOY / "kubernetes.yaml"
PROMETHEUS_FILE = DEPLOY / "prometheus.yml"
DOCKERFILE = DEPLOY / "Dockerfile"


def compose() -> dict[str, Any]:
    """The Compose file, with its anchors in place."""
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return parsed


def services(prefix: str) -> dict[str, dict[str, Any]]:
    """The services of the Compose file whose names begin so."""
    return {name: one for name, one in compose()["services"].items() if name.startswith(prefix)}


def manifests() -> dict[str, dict[str, Any]]:
    """The Kubernetes manifests by kind, of each of which there is one."""
    parsed = list(yaml.safe_load_all(KUBERNETES_FILE.read_text()))
    found = {one["kind"]: one for one in parsed}
    assert len(found) == len(parsed)
    return found


def pod() -> dict[str, Any]:
    """What the StatefulSet makes."""
    spec: dict[str, Any] = manifests()["StatefulSet"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """The one in each pod."""
    (only,) = pod()["containers"]
    found: dict[str, Any] = only
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, lines joined, remarks left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    parts = [line.split(maxsplit=1) for line in joined if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in parts]


def image_variables() -> dict[str, str]:
    """What the image sets in the environment."""
    pairs = [pair for name, text in instructions() if name == "ENV" for pair in text.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def collectors() -> dict[str, dict[str, str]]:
    """The environment of each collector that these files start: what counts as settings."""
    variables = {name: one["environment"] for name, one in services("collector").items()}
    pods = dict(manifests()["ConfigMap"]["data"])
    pods |= {one["name"]: one["value"] for one in container()["env"]}
    return {
        name: image_variables() | one for name, one in {**variables, "kubernetes": pods}.items()
    }
