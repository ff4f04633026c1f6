"""What cannot be run here is read by the tool that reads it in earnest, or held to its published schema."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import yaml
from msgspec import Meta, Struct

from fluxstudio.app import ROUTERS
from fluxstudio.settings import Settings
from fluxstudio.testing_proxy import Nginx
from fluxstudio.testing_workers import StudioWorker
from valtier.testing.certificates import make_certificates

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
TOOLS = Path(sys.executable).parent


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [TOOLS / program, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def load(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


# -- the image ---------------------------------------------------------------------------------------------


def test_the_dockerfile_is_as_hadolint_wants_it() -> None:
    done = run("hadolint", "--config", DEPLOY / "hadolint.yaml", "--failure-threshold", "style", "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_as_nobody_in_particular_and_keeps_nothing_of_its_making() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    last = stages[-1]
    assert len(stages) == 3
    assert re.search(r"^USER 10001", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "pip install" not in last
    assert not re.search(r"^(ADD|ARG)", text, re.MULTILINE)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (REPOSITORY / name).exists(), name


def test_nothing_but_sources_goes_to_the_builder() -> None:
    """`*` shuts everything out; what is let in again is what the Dockerfile copies."""
    lines = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"
    ]
    assert lines[0] == "*"
    for line in lines:
        if line.startswith("!"):
            assert (REPOSITORY / line[1:]).exists(), line
    assert not [line for line in lines if "env" in line and line.startswith("!")]


# -- compose -----------------------------------------------------------------------------------------------


def test_compose_is_as_the_published_schema_wants_it() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_names_only_what_is_there() -> None:
    """Volumes, networks, services, files and variables: a slip of the pen shows here and not at the first start."""
    [compose] = load(DEPLOY / "compose.yaml")
    services = compose["services"]
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "example.env").read_text().splitlines()
        if "=" in line and line[0] != "#"
    )
    for name, service in services.items():
        for wanted in service.get("depends_on", {}):
            assert wanted in services, name
        for network in service.get("networks", []):
            assert network in compose["networks"], name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert source in {"./grafana", "./prometheus"} or (DEPLOY / source).exists(), source
            else:
                assert source in compose["volumes"], source
        for config in service.get("configs", []):
            assert config["source"] in compose["configs"], name
        assert service["image"].count(":") == 1, f"{name}: the image has no version"
        for condition in (one.get("condition") for one in service.get("depends_on", {}).values()):
            assert condition in {"service_healthy", "service_completed_successfully"}
    for name in re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()):
        assert name in example, f"{name} is not in example.env"


def test_workers_of_compose_are_those_of_the_proxy() -> None:
    [compose] = load(DEPLOY / "compose.yaml")
    upstream = set(re.findall(r"server (\w+):8000 ", (DEPLOY / "nginx.conf").read_text()))
    workers = {name for name in compose["services"] if name.startswith("web")}
    assert upstream == workers == set(re.findall(r"\bweb\d\b", (DEPLOY / "roll.sh").read_text()))
    proxy = compose["services"]["nginx"]["networks"]["proxy"]["ipv4_address"]
    for name in workers:
        environment = compose["services"][name]["environment"]
        assert environment["TRUSTED_PROXIES"] == proxy
        assert int(environment["FLUXSTUDIO_WORKERS"]) == len(workers)


def test_nginx_reads_its_configuration(tmp_path: Path) -> None:
    """What it does with it under load is in test_drain.py."""
    workers = [StudioWorker("postgresql://nowhere/none", None) for _ in range(2)]
    done = Nginx(tmp_path, workers, make_certificates(tmp_path)).check()
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr.replace('the "user" directive', ""), done.stderr


def environments() -> dict[str, dict[str, str]]:
    """The environments that the deployments give to workers."""
    [compose] = load(DEPLOY / "compose.yaml")
    [app] = load(REPOSITORY / ".do" / "app.yaml")
    _, settings, addresses = load(DEPLOY / "kubernetes" / "settings.yaml")
    web = {
        name: re.sub(r"\$\{(\w+)(:[^}]*)?\}", "value", text)
        for name, text in compose["services"]["web1"]["environment"].items()
    }
    given = {one["key"]: one["value"] for one in app["services"][0]["envs"]}
    given |= {
        "DATABASE_URL": "postgresql://u:p@host/db",
        "REDIS_URL": "rediss://u:p@host:25061",
        "SMTP_URL": "smtps://host",
        "FLUXSTUDIO_URL": "https://studio.example.org",
    }
    return {
        "compose": web | {"SMTP_URL": "", "MAIL_FROM": ""},
        "app": given,
        "kubernetes": settings["data"] | addresses["stringData"],
    }


@pytest.mark.parametrize("name", ["compose", "app", "kubernetes"])
def test_what_deployments_set_is_what_settings_know(name: str, tmp_path: Path) -> None:
    """And it can be used; each has two workers or more, drains, and is reached by https through a trusted proxy."""
    environment = environments()[name]
    known = set(
        re.findall(r'"([A-Z][A-Z_]+)"', (REPOSITORY / "fluxstudio/src/fluxstudio/settings.py").read_text())
    )
    assert environment.keys() <= known
    authority = make_certificates(tmp_path).ca
    environment["REDIS_URL"] = environment["REDIS_URL"].replace("/tls/ca.crt", str(authority))
    settings = Settings.from_env(environment)
    assert settings.use_redis
    assert settings.redis_url.startswith("rediss:")
    assert settings.secure_cookies
    assert settings.trusted_proxies
    assert settings.workers >= 2
    assert settings.drain_wait_s >= 5


# -- Kubernetes --------------------------------------------------------------------------------------------


def manifests() -> list[Path]:
    return sorted((DEPLOY / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("path", manifests(), ids=lambda path: path.name)
def test_manifests_are_as_the_published_schemas_want_them(path: Path) -> None:
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    for manifest in load(path):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_pods_are_restricted_and_have_the_time_that_draining_takes() -> None:
    found = [manifest for path in manifests() for manifest in load(path)]
    pods = [one["spec"]["template"]["spec"] for one in found if one["kind"] in {"Deployment", "Job"}]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        [container] = pod["containers"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
    [studio] = [one for one in found if one["kind"] == "Deployment"]
    settings = Settings.from_env(environments()["kubernetes"])
    grace_s = studio["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s >= settings.drain_wait_s + settings.drain_grace_s + 10
    assert studio["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    [compose] = load(DEPLOY / "compose.yaml")
    worker = compose["services"]["web1"]
    settings = Settings.from_env({**environments()["compose"], "USE_REDIS": "false"})
    assert int(worker["stop_grace_period"].rstrip("s")) >= settings.drain_wait_s + settings.drain_grace_s + 10


def test_probes_ask_what_is_there() -> None:
    paths = {getattr(route, "path", "") for router in ROUTERS for route in router.routes}
    texts = [
        path.read_text()
        for path in (
            *manifests(),
            DEPLOY / "compose.yaml",
            REPOSITORY / "Dockerfile",
            REPOSITORY / ".do/app.yaml",
        )
    ]
    asked = {found for text in texts for found in re.findall(r"/api/\w+", text)}
    assert asked == {"/api/health", "/api/ready"} <= paths


# -- App Platform ------------------------------------------------------------------------------------------
# The fields of the published schema (app_spec and what it refers to) that are used; any other is a mistake.

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]


class GitHub(Struct, forbid_unknown_fields=True):
    repo: str
    branch: str
    deploy_on_push: bool = False


class Variable(Struct, forbid_unknown_fields=True):
    key: Annotated[str, Meta(pattern="^[_A-Za-z][_A-Za-z0-9]*$")]
    value: str
    scope: Literal["UNSET", "RUN_TIME", "BUILD_TIME", "RUN_AND_BUILD_TIME"] = "RUN_AND_BUILD_TIME"
    type: Literal["GENERAL", "SECRET"] = "GENERAL"


class HealthCheck(Struct, forbid_unknown_fields=True):
    http_path: str
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 9


class Termination(Struct, forbid_unknown_fields=True):
    drain_seconds: Annotated[int, Meta(ge=1, le=110)]
    grace_period_seconds: Annotated[int, Meta(ge=1, le=600)]


class Component(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    github: GitHub
    source_dir: str = "/"
    dockerfile_path: str | None = None
    environment_slug: str | None = None
    build_command: str | None = None
    run_command: str | None = None
    envs: list[Variable] = []


class Service(Component, kw_only=True, forbid_unknown_fields=True):
    http_port: Annotated[int, Meta(ge=1, le=65535)]
    instance_count: Annotated[int, Meta(ge=1)]
    instance_size_slug: str
    health_check: HealthCheck
    liveness_health_check: HealthCheck
    termination: Termination


class Job(Component, kw_only=True, forbid_unknown_fields=True):
    kind: Literal["UNSPECIFIED", "PRE_DEPLOY", "POST_DEPLOY", "FAILED_DEPLOY"]
    instance_count: int
    instance_size_slug: str


class StaticSite(Component, kw_only=True, forbid_unknown_fields=True):
    output_dir: str


class Database(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    engine: Literal["PG", "VALKEY"]
    version: str
    production: bool
    cluster_name: str
    db_name: str
    db_user: str


class Target(Struct, forbid_unknown_fields=True):
    name: str
    preserve_path_prefix: bool = False


class Prefix(Struct, forbid_unknown_fields=True):
    prefix: str


class Match(Struct, forbid_unknown_fields=True):
    path: Prefix


class IngressRule(Struct, forbid_unknown_fields=True):
    component: Target
    match: Match


class Ingress(Struct, forbid_unknown_fields=True):
    rules: list[IngressRule]


class App(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    region: Literal["ams", "nyc", "fra", "sfo", "sgp", "blr", "tor", "lon", "syd"]
    ingress: Ingress
    static_sites: list[StaticSite]
    services: list[Service]
    jobs: list[Job]
    databases: list[Database]


def test_the_app_spec_is_as_the_published_schema_wants_it() -> None:
    [document] = load(REPOSITORY / ".do" / "app.yaml")
    app = msgspec.convert(document, App)
    components = {one.name for one in (*app.services, *app.static_sites)}
    assert {rule.component.name for rule in app.ingress.rules} == components
    [service] = app.services
    given = {one.key: one for one in service.envs}
    assert given["USE_REDIS"].value == "true"
    assert given["REDIS_URL"].type == "SECRET"
    assert service.health_check.http_path == "/api/ready"
    assert service.instance_count >= 2
    settings = Settings.from_env(environments()["app"])
    assert service.termination.grace_period_seconds >= settings.drain_wait_s + settings.drain_grace_s + 10
    [job] = app.jobs
    assert (job.kind, job.run_command) == ("PRE_DEPLOY", "fluxstudio migrate")
    assert job.envs == service.envs
    databases = {one.name for one in app.databases}
    bound = {name for one in service.envs for name in re.findall(r"\$\{([\w-]+)\.", one.value)}
    assert bound <= databases


# -- scripts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["certificates.sh", "roll.sh"])
def test_scripts_are_read_by_a_plain_shell(name: str) -> None:
    shell = shutil.which("dash") or shutil.which("sh")
    assert shell is not None
    subprocess.run([shell, "-n", DEPLOY / name], check=True)  # noqa: S603
