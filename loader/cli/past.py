"""``history``: what was imported here, from the state folder alone."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from loader.bundle.errors import AirgapError
from loader.cli.app import app
from loader.cli.console import Console, run
from loader.cli.options import OutputFlags, StateFlags

if TYPE_CHECKING:
    from loader.history import Override
    from loader.imports import Import


@app.command()
def history(
    name: Annotated[
        Optional[str], typer.Argument(metavar="[NAME]", help="a bundle's name: its loads, with every image")
    ] = None,
    *,
    state: StateFlags,
    output: OutputFlags,
) -> None:
    """Show what was imported when, by whom and signed by whom; needs nothing but the state folder."""
    console = output.console()

    def verb() -> None:
        from loader.bundle.strictjson import to_plain
        from loader.history import History
        from loader.imports import read_imports
        from loader.signing import find_check

        folder = state.folder()
        found, fault = read_imports(folder, name, check=find_check()), ""
        resets: tuple[Override, ...] = ()
        try:
            resets = History(folder).resets(name)
        except AirgapError as error:  # the loads are told all the same
            fault = str(error)
            console.result("DAMAGED", fault)
        for one in found:
            _show(console, one, images=name is not None)
        for entry in resets:
            console.result(entry.when, f"reset-sequence {entry.name}: {entry.sequence} was forgotten, id {entry.id}")
            console.result("  reason", entry.reason)
        if not found:
            console.result("none", f"no load {f'of {name} ' if name else ''}is kept in {folder}")
        rows = [to_plain(entry) for entry in resets]
        console.document({"fault": fault or None, "loads": [_document(one) for one in found], "resets": rows})

    raise typer.Exit(run(console, verb))


def _show(console: Console, one: "Import", *, images: bool) -> None:
    record = one.record
    if record is None:
        console.result("DAMAGED", f"{one.folder}: {one.fault}")
        return
    console.result(record.started, f"{record.verb} {record.name} {record.version}, sequence {record.sequence}")
    console.result("  ended", f"{record.state}{f' at {record.finished}' if record.finished else ''}")
    console.result("  by", f"{record.user} on {record.host} ({record.loader}, sha256 {record.loader_sha256})")
    for signer in record.signers:
        console.result("  signed", f"{signer.name} {signer.fingerprint}")
    policy = record.policy
    console.result(
        "  policy",
        f"{policy.threshold} of {len(policy.trusted)} keys, required: {', '.join(policy.required) or 'none by name'}, "
        f"policy.toml {policy.sha256 or 'none'}",
    )
    console.result("  into", f"{record.registry}{f', cluster {record.cluster}' if record.cluster else ''}")
    if record.reason is not None:
        console.result("  older", f"allowed: {record.reason}")
    console.result("  id", record.bundle)
    if one.fault:
        console.result("  DAMAGED", one.fault)
    for image in one.manifest.images if images and one.manifest else ():
        console.result("  image", f"{image.source}{f':{image.tag}' if image.tag else ''} {image.digest}")
    console.result("  kept", str(one.folder))


def _document(one: "Import") -> dict[str, Any]:
    from loader.bundle.strictjson import to_plain

    images = one.manifest.images if one.manifest else ()
    return {
        "fault": one.fault or None,
        "folder": str(one.folder),
        "images": [{"digest": image.digest, "source": image.source, "tag": image.tag} for image in images],
        "intact": not one.fault,
        "load": None if one.record is None else to_plain(one.record),
    }
