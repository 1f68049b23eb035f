"""``airgap-bundler`` on the command line: parse, call one verb, map errors to exit codes."""

from __future__ import annotations


def main() -> None:
    """Entry point of ``airgap-bundler``."""
    from bundler.cli import building, finding, media, planning, signing, starting  # noqa: F401 - they register their commands
    from bundler.cli.app import app
    from loader.cli.main import invoke

    invoke(app)
