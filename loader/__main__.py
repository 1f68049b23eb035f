"""``python -m loader``, and the entry of the one-file loader.

This file parses on Python 3.6, the system Python of RHEL 8: there it hands over to a newer one on PATH,
or says in three lines what to install.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 9)
NEWER = ["python3.%d" % minor for minor in range(19, 8, -1)]  # noqa: UP031 - this file runs on old interpreters


def hand_over() -> None:
    """Run the same command with the newest Python on PATH, or exit 1 with what to install."""
    isolated = ["-I"] if sys.flags.isolated else []
    program = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - see the module's first lines
    for name in NEWER:
        found = shutil.which(name, path=os.environ.get("PATH"))
        if found and subprocess.call([found, *isolated, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            where = program if os.path.isfile(program) else "-m"  # noqa: PTH113 - see the module's first lines
            rest = sys.argv[1:] if where == program else ["loader", *sys.argv[1:]]
            os.execv(found, [found, *isolated, where, *rest])  # noqa: S606 - the same program, a newer interpreter
    here = ".".join(str(number) for number in sys.version_info[:2])
    sys.stderr.write(
        "error: airgap-loader needs Python 3.9 or newer\n"
        f"  why:  this is Python {here}, and no newer python3.x is on PATH\n"
        "  next: dnf install python3.11 (RHEL 8) or python3 (RHEL 9), then run the same command again\n"
    )
    sys.exit(1)


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        hand_over()
    from loader.cli import main

    main()
