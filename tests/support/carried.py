"""A bundle of a few images, carried to registries that behave in every way."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.support.cli import Cli, Ran
from tests.support.images import MadeImage
from tests.support.registry import RegistryServer


@dataclass(frozen=True)
class Carried:
    """An archive, and the images in it by ``repository:tag``."""

    cli: Cli
    archive: Path
    images: dict[str, MadeImage]
    id: str

    def push(self, registry: RegistryServer | str, *args: object, verb: str = "push") -> Ran:
        """Run the loader until it ends."""
        return self.cli.loader(*self.arguments(registry, verb), *args)

    def start(self, registry: RegistryServer | str, *args: object, err: IO[Any] | None = None) -> subprocess.Popen[Any]:
        """Start a push and return at once."""
        command = self.cli.command("airgap-loader", *self.arguments(registry, "push"), *args)
        return subprocess.Popen(
            command, cwd=self.cli.folder, env=self.cli.variables(), stdout=subprocess.DEVNULL, stderr=err
        )

    def arguments(self, registry: RegistryServer | str, verb: str) -> list[object]:
        host = registry if isinstance(registry, str) else registry.host
        plain = [] if not isinstance(registry, str) and registry.scheme == "https" else ["--plain-http"]
        trust = ["--trust", self.cli.folder / "builder.pub"]
        # One site, one state: what another test imported must not be newer here.
        site = host.replace(":", "-") if isinstance(registry, str) else registry.store.directory.name
        state = ["--state", self.cli.folder / f"state-{site}"]
        return [verb, self.archive, *trust, "--registry", host, *plain, "--report", self.cli.folder, *state]

    def arrived(self, registry: RegistryServer, name: str, prefix: str = "") -> bool:
        """Tell whether an image is whole under its tag, bit for bit."""
        repository, _, tag = name.rpartition(":")
        image, store = self.images[name], registry.store
        place = prefix + repository
        whole = all(store.manifest(place, digest) == (data, kind) for digest, kind, data in image.manifests)
        blobs = image.blobs.items()
        there = all(store.has_blob(place, digest) and store.blob(digest) == data for digest, data in blobs)
        return whole and there and store.tags.get((place, tag)) == image.digest


def carry(cli: Cli, images: dict[str, MadeImage], *args: object, version: str = "1", platforms: str = "all") -> Carried:
    """Build a bundle of ``images``, which are named ``repository:tag``, from a registry of their own."""
    with RegistryServer() as source:
        for name, image in images.items():
            repository, _, tag = name.rpartition(":")
            image.put(source.store, repository, tag)
        listed = "".join(f"- {source.host}/{name}\n" for name in images)
        (cli.folder / "bundle.yaml").write_text(
            f'name: carried\nversion: "{version}"\nregistry: r.example:5000\nplatforms: {platforms}\nimages:\n{listed}'
        )
        if not (cli.folder / "builder.pub").exists():
            cli.bundler("keygen", "builder").expect()
        command = ("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http", "--json")
        built = cli.bundler(*command, *args).expect().json
    return Carried(cli, cli.folder / built["path"], images, built["id"])
