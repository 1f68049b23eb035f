"""``airgap-loader`` on the command line: parse, call one verb, map errors to exit codes."""

from __future__ import annotations


def main() -> None:
    """Entry point of ``airgap-loader``."""
    from loader.cli import loading, media, reading, rollback  # noqa: F401 - they register their commands
    from loader.cli.app import app
    from loader.cli.main import invoke

    invoke(app)
