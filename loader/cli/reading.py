"""``verify`` and ``inspect``: the verbs that change nothing."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from loader.bundle.errors import AirgapError, BundleError, ConfigError
from loader.cli.app import app
from loader.cli.console import Console, run
from loader.cli.options import (
    OutputFlags,
    Source,
    StateFlags,
    TrustFlags,
    open_audit,
    utc_now,
    who,
)
from loader.cli.prompt import can_ask, drive_options
from loader.cli.staging import DriveFlags, staged

if TYPE_CHECKING:
    from loader.bundle.verify import Trust
    from loader.claims import Claim
    from loader.opening import Opened
    from loader.sidecar import SidecarCheck

ReportOption = Annotated[
    Optional[Path], typer.Option("--report", metavar="DIR", help="write what was checked to DIR (JSON and HTML)")
]
SidecarOption = Annotated[
    bool,
    typer.Option(
        "--sidecar",
        help="require that the file is the one in its signed .sha256 too",
    ),
]


@app.command()
def verify(
    source: Source,
    disc: Annotated[
        bool, typer.Option("--disc", help="check the discs given, each alone: lists, files, chunks")
    ] = False,
    sidecar: SidecarOption = False,
    report: ReportOption = None,
    *,
    trust: TrustFlags,
    drive: DriveFlags,
    state: StateFlags,
    output: OutputFlags,
) -> None:
    """Check everything: frames, signatures, manifest, graph, policy, every byte. No network."""
    console = output.console()
    audit = open_audit("verify", source)

    def verb() -> None:
        from loader import verdict
        from loader.history import History
        from loader.media.opened import damage_lines, media_notes
        from loader.media.verifying import bytes_to_read, verify_beside
        from loader.opening import open_source

        if disc:
            given_too = {"signature": bool(trust.signatures), "stage": drive.stage is not None}
            _require_alone(report=report is not None, sidecar=sidecar, **given_too)
            check_given_discs(console, source, trust.read())
            return
        no_prompt = drive.no_prompt
        asking = drive_options(console, no_prompt=no_prompt) if can_ask(no_prompt=no_prompt) else None
        given = trust.read()
        with refusals_kept(console, report, source, given):
            taken = staged(console, source, given, drive.stage, no_prompt=no_prompt)
            with open_source(taken, given, signatures=trust.signatures, drive=asking) as opened:
                bundle = opened.bundle
                audit.verified(bundle)
                about = (*verdict.head_lines(bundle), *verdict.delta_lines(bundle.manifest))
                _tell(console, (*media_notes(opened.media), *about, *_passed_over(opened, taken, trust.signatures)))
                with console.progress("verify", bytes_to_read(opened)) as on_bytes:
                    beside = verify_beside(opened, on_bytes, required=sidecar)
                _tell(console, (*damage_lines(opened.media), *verdict.content_lines(bundle), *beside.lines()))
                replay = verdict.replay_line(bundle, History(state.folder()))
                console.result("replay", replay)
                found = _found(opened, replay, beside) if console.as_json or report is not None else {}
        for path in verdict.write_verdict(report, found) if report is not None else ():
            console.result("report", str(path))
        console.document(found)

    raise typer.Exit(run(console, verb, audit))


def _passed_over(opened: "Opened", source: Sequence[Path], given: list[Path]) -> Iterator[tuple[str, str]]:
    """What stands beside the archive or was given, and counts for nothing."""
    from loader.signaturefiles import idle_signatures, passed_over

    sidecar = opened.sidecar
    if sidecar is not None:
        yield from passed_over(source[0])
    yield from idle_signatures(given, [opened.bundle], sidecar.signatures if sidecar is not None else ())


def _require_alone(**given: bool) -> None:
    """Refuse options that ``--disc`` would pass over: whoever typed them would believe it was done."""
    for name, typed in given.items():
        if typed:
            raise ConfigError(
                f"--disc goes without --{name}",
                why="it looks at discs alone, and at nothing that is in the archive on them",
                hint="verify without --disc does all; --disc --json > FILE keeps what was found",
            )


def _found(opened: "Opened", replay: str, sidecar: "SidecarCheck") -> dict[str, Any]:
    """The verdict as a document; that of a large bundle takes megabytes, so it is made where someone wants it."""
    from loader import verdict
    from loader.media.verifying import media_document

    return {**verdict.document(opened.bundle, replay, utc_now(), sidecar), **media_document(opened)}


def _tell(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    for step, text in lines:
        console.result(step, text)


@contextlib.contextmanager
def refusals_kept(console: Console, folder: Optional[Path], source: list[Path], trust: "Trust") -> Iterator[None]:
    """Leave evidence in ``folder`` of a bundle that is refused while the block lasts; see first that it can be left."""
    if folder is not None:
        from loader.durable import require_reports

        require_reports(folder)
    try:
        yield
    except BundleError as error:
        if folder is not None:
            from loader.refusal import refusal, write_refusal

            found = refusal(source, error, trust, who(), utc_now())
            for path in write_refusal(folder, found, source[0]):
                console.note("report", str(path))
        raise


def check_given_discs(console: Console, sources: list[Path], trust: Optional["Trust"]) -> None:
    """Check discs one by one and print what was found; without ``trust`` their signatures are not."""
    from loader.media.disccheck import check_discs, require_clean

    found = check_discs(sources, trust, console.progress)
    for step, text in found.lines():
        console.result(step, text)
    console.hold(found.document())  # with bad chunks it is wanted most
    require_clean(found)
    console.held()


@app.command()
def inspect(
    source: Source,
    documents: Annotated[bool, typer.Option("--documents", help="print the documents too")] = False,
    diff: Annotated[
        Optional[Path],
        typer.Option("--diff", metavar="OLDER", help="what changed since this bundle or .head.tar"),
    ] = None,
    *,
    trust: TrustFlags,
    state: StateFlags,
    output: OutputFlags,
) -> None:
    """Show what is inside. Says UNVERIFIED loudly unless a trusted key signed it."""
    console = output.console()

    def verb() -> None:
        from loader import verdict
        from loader.claims import read_claim

        claimed = read_claim(source, trust.signatures)
        found = verdict.described(claimed.manifest, claimed.head)
        found["documentTexts"] = None
        found["verified"], found["why"], found["replay"] = False, None, None
        texts: Optional[dict[str, str]] = None
        try:
            texts, found["replay"] = _vouched(source, trust, state.folder())
            found["verified"] = True
        except AirgapError as error:
            found["why"] = str(error)
        if documents:
            if texts is None:
                raise ConfigError(
                    "documents are shown from a bundle that a trusted key signed",
                    why=str(found["why"]),
                    hint="give the key with --trust",
                )
            if found["documents"] and not texts:
                raise ConfigError(
                    f"{source[0]} has the list alone, no documents",
                    why="a head carries no more",
                    hint="give the archive or a disc",
                )
            found["documentTexts"] = texts
        found["diff"] = None if diff is None else _compared(claimed, diff, trust)
        _show(console, found, verdict.delta_lines(claimed.manifest))
        console.document(found)

    raise typer.Exit(run(console, verb))


def _compared(claimed: "Claim", older: Path, trust: TrustFlags) -> dict[str, Any]:
    from loader.claims import read_claim
    from loader.difference import difference

    known: Optional[Trust] = None
    with contextlib.suppress(AirgapError):  # without keys the labels are shown, as what they are
        known = trust.read()
    old = read_claim(older)
    (before, before_holds), (after, after_holds) = old.signers(known), claimed.signers(known)
    found = difference(old.manifest, claimed.manifest, (before, after))
    return {**found, "verified": {"from": before_holds, "to": after_holds}}


def _vouched(source: list[Path], trust: TrustFlags, state: Path) -> tuple[dict[str, str], str]:
    """The documents of a bundle that trusted keys signed, and what is known here of its sequence."""
    from loader.claims import read_vouched
    from loader.history import History
    from loader.verdict import replay_line

    found = read_vouched(source, trust.read(), signatures=trust.signatures)
    texts = {path: data.decode("utf-8", "backslashreplace") for path, data in found.documents.items()}
    return texts, replay_line(found, History(state))


def _show(console: Console, found: dict[str, Any], delta: Iterable[tuple[str, str]]) -> None:
    if found["verified"]:
        console.result("verified", "a trusted key signed this; its content is checked by verify")
    else:
        console.result("UNVERIFIED", f"NOBODY TRUSTED VOUCHES FOR THIS: {found['why']}")
    console.result("bundle", f"{found['name']} {found['version']}, sequence {found['sequence']}, {found['created']}")
    console.result("id", found["id"])
    _tell(console, delta)
    console.result("registry", found["registry"])
    if found["replay"] is not None:
        console.result("replay", found["replay"])
    for image in found["images"]:
        name = f"{image['source']}:{image['tag']}" if image["tag"] else image["source"]
        console.result("image", f"{name} {image['digest']} ({', '.join(image['platforms']) or 'no platform'})")
    for row in found["mirrors"]:
        console.result("mirror", f"{row['source']} -> {row['mirror']}")
    for item in found["documents"]:
        console.result("document", f"{item['path']} ({item['phase']}, {item['action']})")
    if found["diff"] is not None:
        from loader.difference import difference_lines

        if not found["diff"]["verified"]["from"]:
            console.result("UNVERIFIED", "no trusted key signed the older one: what it is compared with is a claim")
        for step, text in difference_lines(found["diff"]):
            console.result(step, text)
    for path, text in (found["documentTexts"] or {}).items():
        console.text(f"--- {path}\n{text}")
