"""What is deployed: the files are valid, agree with each other, and set what there is to set."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from deployed import (
    COMPOSE_FILE,
    DEPLOY,
    PROMETHEUS_FILE,
    ROOT,
    collectors,
    compose,
    container,
    image_variables,
    manifests,
    pod,
    services,
)

from k2trio import __version__
from k2trio.kafka_urls import parse_kafka_url
from k2trio.loading import check_environment, load_settings
from k2trio.settings import ENV_PREFIX, Settings
from k2trio.web.openapi import make_document

if TYPE_CHECKING:
    from pathlib import Path

KUBERNETES = ("1.31", "1.33", "1.35")
"""Versions of the API that the manifests are for."""
ENDS_WITHIN_S = 5
"""What the README promises of SIGTERM."""
LABELS = {"app.kubernetes.io/name": "k2trio"}
OF_EACH_PROCESS = 200 << 20
"""Memory of the program without its buffers (bytes)."""


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a collector, as it would load them."""
    for variable, value in collectors()[name].items():
        if variable.startswith(ENV_PREFIX):
            monkeypatch.setenv(variable, value)
    check_environment()
    return load_settings()


# -- schemas --------------------------------------------------------------------------------------


def check_compose(path: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema")
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec",
         str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_compose_file_is_one_by_its_specification(tmp_path: Path) -> None:
    end = check_compose(COMPOSE_FILE)
    assert end.returncode == 0, end.stdout + end.stderr
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE_FILE.read_text().replace("mem_limit: 1g", "memory_limit: 1g"))
    assert "memory_limit" in check_compose(wrong).stdout


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("kind", manifests())
def test_the_manifests_are_valid_for_kubernetes(kind: str, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    manifest = manifests()[kind]
    validate.validate(manifest, version, strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**manifest, "nonsense": 1}, version, strict=True)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_prometheus_takes_its_configuration_and_the_rules(tmp_path: Path) -> None:
    for source, target in prometheus_mounts().items():
        (tmp_path / target.rpartition("/")[2]).write_bytes((DEPLOY / source).read_bytes())
    end = subprocess.run(  # noqa: S603
        ["promtool", "check", "config", str(tmp_path / PROMETHEUS_FILE.name)],  # noqa: S607
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert end.returncode == 0, end.stdout + end.stderr
    assert re.search(r"k2trio\.rules\.yml\s+SUCCESS: \d+ rules found", end.stdout)


def prometheus_mounts() -> dict[str, str]:
    """File of ours → where the container has it."""
    volumes = [one.split(":") for one in compose()["services"]["prometheus"]["volumes"]]
    return {volume[0]: volume[1] for volume in volumes if volume[0].startswith(".")}


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", collectors())
def test_every_variable_is_a_setting_with_a_valid_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, monkeypatch)
    assert settings.shards > 1
    assert settings.max_reconnect_attempts == 0
    assert len(settings.stream_names) >= settings.shards
    assert settings.metrics_host == "0.0.0.0"


@pytest.mark.parametrize("name", collectors())
def test_the_memory_of_a_collector_holds_all_that_it_may_buffer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, monkeypatch)
    # All shards may be one process's, and each has a buffer of its own.
    wanted = OF_EACH_PROCESS + settings.shards * settings.kafka_buffer_bytes
    wanted += settings.hot_buffer_bytes + 2 * settings.max_decoded_bytes
    assert wanted <= 1 << 30
    assert container()["resources"]["limits"]["memory"] == "1Gi"
    assert {one["mem_limit"] for one in services("collector").values()} == {"1g"}


def test_all_collectors_write_the_same_topics_for_the_same_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [settings_of(name, monkeypatch) for name in collectors()]
    assert len({(one.group, one.shards, one.standby, one.stream_names) for one in found}) == 1
    urls = {parse_kafka_url(one.targets[0].where) for one in found}
    assert len({(url.topic, url.value) for url in urls}) == 1


def test_no_secret_is_in_the_files() -> None:
    secret = re.compile(r"(?i)(password|passwd|secret_key|access_key)\s*[:=]\s*\S")
    assert [path.name for path in DEPLOY.iterdir() if secret.search(path.read_text())] == []
    names = {name for one in collectors().values() for name in one}
    assert not {name for name in names if "PROXY" in name or "PASSWORD" in name}


# -- compose --------------------------------------------------------------------------------------


def test_three_brokers_keep_what_two_of_them_have() -> None:
    brokers = services("kafka")
    assert len(brokers) == 3
    for number, (name, broker) in enumerate(brokers.items(), 1):
        own = broker["environment"]
        assert broker["hostname"] == name
        assert own["KAFKA_NODE_ID"] == str(number)
        assert f"{number}@{name}:9093" in own["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")
        for factor in ("DEFAULT", "OFFSETS_TOPIC", "TRANSACTION_STATE_LOG"):
            assert own[f"KAFKA_{factor}_REPLICATION_FACTOR"] == "3"
        assert own["KAFKA_MIN_INSYNC_REPLICAS"] == "2"
        assert own["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == "2"
        assert own["KAFKA_LOG_DIRS"] == broker["volumes"][0].partition(":")[2]
        _, _, port = own["KAFKA_ADVERTISED_LISTENERS"].rpartition(":")
        assert broker["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert own["KAFKA_ADVERTISED_LISTENERS"].startswith(f"INTERNAL://{name}:9092,")


def test_the_collectors_know_every_broker_and_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = services("kafka")
    for name, collector in services("collector").items():
        (target,) = settings_of(name, monkeypatch).targets
        assert parse_kafka_url(target.where).servers == tuple(f"{one}:9092" for one in brokers)
        assert collector["depends_on"].keys() == brokers.keys()
        assert int(collector["stop_grace_period"].removesuffix("s")) > ENDS_WITHIN_S
        volume, _, folder = collector["volumes"][0].partition(":")
        assert collector["environment"]["K2_BINANCE_SHARED_BUDGET"].startswith(f"{folder}/")
        assert volume in compose()["volumes"]


def test_prometheus_scrapes_every_collector_and_has_the_rules() -> None:
    config = yaml.safe_load(PROMETHEUS_FILE.read_text())
    (job,) = config["scrape_configs"]
    port = image_variables()["K2_BINANCE_METRICS_PORT"]
    assert job["job_name"] == "k2trio"
    assert job["static_configs"][0]["targets"] == [f"{name}:{port}" for name in services("coll")]
    mounts = prometheus_mounts()
    assert all((DEPLOY / source).is_file() for source in mounts)
    assert {one.rpartition("/")[2] for one in mounts.values()} == {
        PROMETHEUS_FILE.name,
        *config["rule_files"],
    }


def test_what_is_published_is_published_to_this_machine_only_and_nothing_twice() -> None:
    ports = [port for one in compose()["services"].values() for port in one.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports) == 6


def test_images_have_versions_and_kafka_is_that_of_the_tests() -> None:
    images = {one["image"] for one in compose()["services"].values()} - {"k2trio"}
    assert all(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image) for image in images)
    pom = ROOT / ".ci" / "kafka" / "pom.xml"
    if not pom.exists():
        pytest.skip("needs the repository: a source distribution has no .ci")
    (version,) = re.findall(r"kafka_2\.13</artifactId>\s*<version>([\d.]+)<", pom.read_text())
    assert f"apache/kafka:{version}" in images


# -- kubernetes -----------------------------------------------------------------------------------


def test_everything_selects_the_pods() -> None:
    kinds = manifests()
    template = kinds["StatefulSet"]["spec"]["template"]
    assert template["metadata"]["labels"] == LABELS
    assert kinds["StatefulSet"]["spec"]["selector"]["matchLabels"] == LABELS
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABELS
    assert kinds["Service"]["spec"]["selector"] == LABELS
    assert kinds["StatefulSet"]["spec"]["serviceName"] == kinds["Service"]["metadata"]["name"]
    apart = pod()["affinity"]["podAntiAffinity"]
    (hosts,) = apart["requiredDuringSchedulingIgnoredDuringExecution"]
    (zones,) = apart["preferredDuringSchedulingIgnoredDuringExecution"]
    assert hosts["labelSelector"]["matchLabels"] == LABELS
    assert zones["podAffinityTerm"]["labelSelector"]["matchLabels"] == LABELS


def test_the_service_makes_no_variables_that_look_like_settings() -> None:
    name = manifests()["Service"]["metadata"]["name"]
    assert not name.upper().replace("-", "_").startswith(ENV_PREFIX.rstrip("_"))
    assert pod()["enableServiceLinks"] is False


def test_probes_ask_what_the_exporter_answers() -> None:
    paths = make_document(__version__)["paths"]
    probes = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in
              ("startup", "liveness", "readiness")}  # fmt: skip
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    (port,) = container()["ports"]
    assert {probe["port"] for probe in probes.values()} == {port["name"]} <= {"metrics"}
    assert {probe["path"] for probe in probes.values()} <= paths.keys()
    (service,) = manifests()["Service"]["spec"]["ports"]
    assert service["targetPort"] == port["name"]
    assert str(port["containerPort"]) == image_variables()["K2_BINANCE_METRICS_PORT"]


def test_the_pod_may_do_nothing_that_it_does_not_need() -> None:
    spec, inner = pod()["securityContext"], container()["securityContext"]
    assert spec["runAsNonRoot"] is True
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["terminationGracePeriodSeconds"] > ENDS_WITHIN_S


def test_the_properties_of_kafka_come_from_the_secret() -> None:
    (volume,), (mount,) = pod()["volumes"], container()["volumeMounts"]
    assert volume["name"] == mount["name"]
    (given,) = container()["env"]
    assert given["name"] == "K2_BINANCE_KAFKA_PROPERTIES"
    folder, _, key = given["value"].rpartition("/")
    assert folder == mount["mountPath"]
    told = "".join(path.read_text() for path in (DEPLOY / "README.md", DEPLOY / "kubernetes.yaml"))
    secret = volume["secret"]["secretName"]
    assert f"create secret generic {secret} --from-file={key}" in told
    assert volume["secret"]["defaultMode"] == 0o440
    assert pod()["securityContext"]["fsGroup"] == pod()["securityContext"]["runAsGroup"]


def test_all_pods_together_stay_within_what_the_exchange_admits_of_one_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_of("kubernetes", monkeypatch)
    replicas = manifests()["StatefulSet"]["spec"]["replicas"]
    assert settings.shared_budget == "off"
    assert replicas * settings.rest_weight_limit <= 6000


def test_the_image_is_that_of_this_version() -> None:
    assert container()["image"].rpartition(":")[2] == __version__


def test_a_rollout_waits_until_a_new_process_has_its_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: Any = settings_of("kubernetes", monkeypatch)
    wait = manifests()["StatefulSet"]["spec"]["minReadySeconds"]
    assert wait >= 2 * settings.kafka_session_timeout
