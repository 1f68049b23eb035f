"""``airgap-loader`` on the command line: parse, call one verb, map errors to exit codes."""

from __future__ import annotations

from loader.cli.early import told_when_stopped

# Where each verb is. Only the module that is asked for is imported: a zip file holds no compiled code, and what starts
# a second later for it is noticed.
VERBS = {
    "loader.cli.attaching": ("attach-signature",),
    "loader.cli.shells": ("completion",),
    "loader.cli.loading": ("load", "push", "apply"),
    "loader.cli.media": ("join",),
    "loader.cli.entering": ("login",),
    "loader.cli.past": ("history",),
    "loader.cli.reading": ("verify", "inspect"),
    "loader.cli.extracting": ("extract",),
    "loader.cli.serving": ("serve",),
    "loader.cli.rollback": ("rollback",),
    "loader.cli.trusting": ("trust",),
}


def main() -> None:
    """Entry point of ``airgap-loader``."""
    with told_when_stopped():
        from loader.cli.app import app
        from loader.cli.main import invoke

        invoke(app, VERBS)
