"""``airgap-bundler`` on the command line: parse, call one verb, map errors to exit codes."""

from __future__ import annotations

from loader.cli.early import told_when_stopped

# Where each verb is; only the module that is asked for is imported.
VERBS = {
    "bundler.cli.shells": ("completion",),
    "bundler.cli.building": ("build",),
    "bundler.cli.finding": ("find-images",),
    "bundler.cli.importing": ("import",),
    "bundler.cli.media": ("media", "iso"),
    "bundler.cli.planning": ("plan",),
    "bundler.cli.reporting": ("report",),
    "bundler.cli.signing": ("keygen", "sign", "attach-signature"),
    "bundler.cli.starting": ("init",),
}


def main() -> None:
    """Entry point of ``airgap-bundler``."""
    with told_when_stopped():
        from bundler.cli.app import app
        from loader.cli.main import invoke

        invoke(app, VERBS)
