"""The project's checks. `nox` runs them all; `nox -s tests-3.13` one of them."""

from __future__ import annotations

import sys

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
JAVASCRIPT = "tests/clients/javascript"
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
# The interpreter at hand by default: `nox -s tests` runs every version of the classifiers.
nox.options.sessions = ["lint", "types", f"tests-{THIS_PYTHON}", "e2e", "clients"]


def install(session: nox.Session, *groups: str, project: bool = True) -> None:
    """Install dependency groups and, unless told otherwise, the project itself."""
    wanted = nox.project.dependency_groups(PROJECT, *groups)
    session.install(*wanted, *(["-e", "."] if project else []))


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    install(session, "lint", project=False)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    install(session, "types", "test", "bench")
    session.run("mypy")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The fast tests, on a virtual clock."""
    install(session, "test")
    session.run("pytest", "-m", "not e2e and not clients and not engines", *session.posargs)


@nox.session
def e2e(session: nox.Session) -> None:
    """Real sockets, processes and Dora."""
    install(session, "test")
    session.run("pytest", "-m", "e2e", *session.posargs)


@nox.session
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
