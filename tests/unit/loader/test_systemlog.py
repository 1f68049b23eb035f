from __future__ import annotations

import socket
from pathlib import Path

from loader.bundle.errors import TrustError
from loader.systemlog import Audit
from tests.support.bundles import make_signer, open_head, tiny_recipe

KEY = make_signer("builder").public.fingerprint


def sent(folder: Path, audit: Audit, error: TrustError | None = None) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(folder / "log"))
        log.settimeout(5)
        audit.send(error)
        return log.recv(8192).decode("ascii")


def test_a_good_run_names_the_bundle_and_who_signed_it(tmp_path: Path) -> None:
    bundle = open_head(tiny_recipe().archive())
    audit = Audit("verify", "out/demo-1.tar.zst", "jo", path=str(tmp_path / "log"))
    audit.verified(bundle)
    line = sent(tmp_path, audit)
    assert line.startswith("<86>airgap-loader[")
    assert line.endswith(f"]: verify ok: demo 1 sequence 7 id {bundle.id} signed by builder {KEY} (user jo)")


def test_a_refusal_says_what_was_given_and_why_it_was_refused(tmp_path: Path) -> None:
    audit = Audit("load", "evil\n<0>kernel: all is well\x1b[2J", "jo", path=str(tmp_path / "log"))
    line = sent(tmp_path, audit, TrustError("no trusted key signed this bundle", why="signatures: none"))
    assert line.startswith("<84>airgap-loader[")
    assert "load FAILED (exit 3: no trusted key signed this bundle: signatures: none): evil?<0>kernel" in line
    assert line.isprintable()


def test_a_host_without_a_log_loses_the_line_alone(tmp_path: Path) -> None:
    Audit("verify", "x", "jo", path=str(tmp_path / "none")).send()
