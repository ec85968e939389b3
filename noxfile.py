"""The project's checks. `nox` runs them all; `nox -s tests-3.13` one of them.

With `nox --parallel auto` those run side by side that take no heed of the time: the end-to-end
tests have the machine to themselves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
JAVASCRIPT = "tests/clients/javascript"
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "venv"
# The interpreter at hand by default: `nox -s tests` runs every version of the classifiers.
nox.options.sessions = ["lint", "types", f"tests-{THIS_PYTHON}", "e2e", "clients"]


def install(session: nox.Session, *groups: str, project: bool = True) -> None:
    """Install dependency groups and, unless told otherwise, the project itself."""
    wanted = nox.project.dependency_groups(PROJECT, *groups)
    # Most of what comes along is never imported.
    session.install("--no-compile", *wanted, *(["-e", "."] if project else []))


def python_of(session: nox.Session) -> str:
    """The interpreter of `environment`."""
    return str(Path(session.env_dir).with_name("environment") / "bin" / "python")


@nox.session(default=False, allow_parallel=True)
def environment(session: nox.Session) -> None:
    """What `types` and `e2e` run in: it takes longer to make than to use."""
    install(session, "types", "test", "bench")


@nox.session(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    install(session, "lint", project=False)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(venv_backend="none", requires=["environment"], allow_parallel=True)
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.run(python_of(session), "-m", "mypy")


@nox.session(python=PYTHONS, allow_parallel=True)
def tests(session: nox.Session) -> None:
    """The fast tests, on a virtual clock."""
    install(session, "test")
    session.run("pytest", "-m", "not e2e and not clients and not engines", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def e2e(session: nox.Session) -> None:
    """Real sockets, processes and Dora. Two at a time: they wait more than they compute. Some
    ask when a recogniser has understood somebody who speaks, and are alone on the machine."""
    two = ("-n", "2", "--dist", "loadfile")
    # Of those that were asked for there may be none in one of the runs.
    codes = (0, 5) if session.posargs else (0,)
    for which, how in (("e2e and alone", ()), ("e2e and not alone", two)):
        command = (python_of(session), "-m", "pytest", "-m", which, *how, *session.posargs)
        session.run(*command, success_codes=codes)


@nox.session(allow_parallel=True)
def clients(session: nox.Session) -> None:
    """Realtime clients as they are published, in Python and JavaScript, and the live server."""
    install(session, "test", "clients")
    # Node comes from the package index too: the session needs nothing of the machine's.
    session.run(
        "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", JAVASCRIPT
    )
    session.run("pytest", "tests/clients", *session.posargs)


@nox.session
def engines(session: nox.Session) -> None:
    """The optional speech engines, with models made on the spot. It does not run by default:
    their packages are large, and nothing else depends on them."""
    install(session, "test")
    session.install("-e", ".[faster-whisper,funasr,piper]", "onnx>=1.17")
    session.run("pytest", "-m", "engines", *session.posargs)
