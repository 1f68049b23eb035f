"""``plan``: what a bundle comes to."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import contextlib
import dataclasses
import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from bundler.cli.app import app
from bundler.cli.opening import PlatformFlags, opened_sources, tell_names
from bundler.cli.options import LockFlags, source_date
from loader.bundle.errors import ConfigError
from loader.bundle.head import HEAD_TAR
from loader.cli.console import Console, run
from loader.cli.options import AccessFlags, Jobs, OutputFlags
from loader.interpreter import nothing_to_collect

if TYPE_CHECKING:
    from bundler.config import BuildConfig
    from bundler.imagelist import ConfigImage
    from bundler.lock import Lock
    from bundler.plan import Plan
    from bundler.planpage import Space
    from bundler.resolve import ImageSource, ResolvedImage

_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclasses.dataclass(frozen=True)
class _Wish:
    """What was asked of a config."""

    media: list[str]
    diff: bool
    jobs: int
    lock: LockFlags
    platforms: PlatformFlags
    access: AccessFlags


@app.command("plan")
def plan_command(
    subject: Annotated[Path, typer.Argument(metavar="CONFIG|BUNDLE", help="bundle.yaml, or an archive")],
    medium: Annotated[
        Optional[list[str]], typer.Option("--medium", metavar="M", help="count discs of this medium (repeatable)")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="ask upstream what moved since the lock")] = False,
    *,
    lock: LockFlags,
    platforms: PlatformFlags,
    jobs: Jobs = 16,
    access: AccessFlags,
    output: OutputFlags,
) -> None:
    """Print images, sizes, mirrors, documents and discs; write nothing but the lock."""
    console = output.console()

    def verb() -> None:
        media = medium or []
        if not _is_archive(subject):
            with nothing_to_collect():
                _plan_config(console, subject, _Wish(media, diff, jobs, lock, platforms, access))
            return
        if diff or lock.moves or platforms.platform or platforms.rewrite_index:
            raise ConfigError(
                f"{subject} is an archive: it has no lock",
                why="what a lock would decide is decided in it",
                hint="give the config for --diff and --update",
            )
        _plan_archive(console, subject, media)

    raise typer.Exit(run(console, verb))


def _is_archive(path: Path) -> bool:
    from bundler.config import read_file

    if path.name.endswith(HEAD_TAR):
        raise ConfigError(
            f"{path} is a bundle's head alone",
            why="the documents, whose references a plan looks up, are not in it",
            hint="give the archive; inspect reads a head",
        )
    return read_file(path, len(_ZSTD)).startswith(_ZSTD)


def _plan_archive(console: Console, path: Path, media: list[str]) -> None:
    from bundler.archived import archived
    from bundler.plan import make_plan
    from bundler.planpage import plan_document, plan_lines

    plan = make_plan(archived(path), media)
    space = _space(plan, (), path)
    console.result("plan", f"{path}: exact; its signatures are not checked here (airgap-loader verify does)")
    for step, text in plan_lines(plan, space):
        console.result(step, text)
    console.document({**plan_document(plan, space, changes=(), moved=None), "normalised": [], "source": "bundle"})


def _plan_config(console: Console, path: Path, wish: _Wish) -> None:
    from bundler.compose import compose, sparse_warning, utc
    from bundler.lock import changes, lock_path, require_unchanged
    from bundler.lockmerge import keep_lock
    from bundler.lockreading import read_lock
    from bundler.plan import composed, make_plan
    from bundler.planpage import diff_lines, normalised_names, plan_document, plan_lines
    from bundler.render.documents import pinned_manifests
    from bundler.render.model import PinnedImage
    from bundler.sequence import what_loaders_mind
    from bundler.signed import signed_lines

    wish.lock.require_sense()
    config = wish.platforms.config(path)
    lock_file = lock_path(path)
    before = read_lock(lock_file)
    lock = wish.lock.unlocked(before)
    tell_names(console, config)
    moved, resolved, asked = _found(console, config, lock, wish)
    planned = compose(config, lock, resolved, (), now=source_date())
    changed = changes(before, planned.lock)
    if wish.lock.locked:
        require_unchanged(changed)
    plan = make_plan(composed(planned), wish.media)
    space = _space(plan, config.images, path)
    names = [
        PinnedImage(image.source, image.tag, image.digest, image.repository, image.rewritten)
        for image in planned.manifest.images
    ]
    pinned = [(name, found, text) for name, done in pinned_manifests(config, names) for found, text in done.changed]
    by = "" if asked else "; all of it is in the lock, no registry was asked (--diff asks)"
    console.result("plan", f"{planned.name} for {config.registry}: sizes are upper bounds{by}")
    for line in changed:
        console.result("lock", line)
    for line in signed_lines(resolved):
        console.result("signed", line)
    warnings = what_loaders_mind(planned.manifest, planned.head.id, before, utc(source_date()))
    for line in (*warnings, *sparse_warning(planned.manifest)):
        console.result("warning", line)
    for step, text in (*(diff_lines(moved) if moved is not None else ()), *plan_lines(plan, space, pinned)):
        console.result(step, text)
    # Planning builds nothing: the last bundle stays the one that was built.
    after = dataclasses.replace(planned.lock, last=before.last)
    if after != before:
        keep_lock(lock_file, before, after, lambda text: console.note("warning", text))
    document = plan_document(plan, space, changes=changed, moved=moved, pinned=pinned)
    console.document({**document, "normalised": normalised_names(config.images), "source": "config"})


def _found(
    console: Console, config: "BuildConfig", lock: "Lock", wish: _Wish
) -> "tuple[Optional[Sequence[tuple[str, str, str]]], Sequence[ResolvedImage], bool]":
    """What moved upstream if that is asked for, the images as lock or registry know them, and if any was asked."""
    from bundler.gather import gather
    from bundler.remembered import from_lock, is_remembered
    from bundler.upstream import moved_upstream

    jobs = wish.jobs
    with contextlib.ExitStack() as stack:
        sources = functools.cache(lambda: stack.enter_context(opened_sources(console, config, wish.access)))
        if wish.diff or not all(is_remembered(image, lock) for image in config.images):
            sources()
        else:
            # Nothing to wait for, and nothing is opened unless the lock lacks something after all.
            jobs = 1

        def outside(image: "ConfigImage", digest: Optional[str]) -> "ImageSource":
            return sources().open(image, digest)

        moved = moved_upstream(config.images, lock, outside, jobs=jobs) if wish.diff else None
        return (
            moved,
            gather(config.images, lock, from_lock(lock, outside), jobs=jobs),
            sources.cache_info().currsize > 0,
        )


def _space(plan: "Plan", images: "Sequence[ConfigImage]", path: Path) -> "Space":
    from bundler.planpage import space_needed

    return space_needed(
        plan, images, shutil.disk_usage(path.parent).free, shutil.disk_usage(tempfile.gettempdir()).free
    )
