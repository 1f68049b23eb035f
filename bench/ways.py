"""The ways compared: our two programs, the article's (skopeo, tar, zstd), and curl with the same blobs."""

from __future__ import annotations

import dataclasses
import http.client
import shlex
import shutil
import sys
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.corpus import Corpus
from bench.measure import Sample, disk_usage, measure
from bench.peers import Peer
from bench.programs import clean_environment
from loader.bundle.digest import digest_of

NAME = "bench-1"
ARCHIVE = f"{NAME}.tar.zst"
JOBS = 3
"""Connections of the loader by default, and of curl beside it."""
Way = Callable[["Setting", Path], Sample]


@dataclass(frozen=True)
class Setting:
    """What all runs share: the images, the registry they come from, one for the far side, kept files by way."""

    corpus: Corpus
    source: str
    target: str
    kept: Path


def program(name: str) -> str:
    """Path of one of our own programs, as installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def make_keys(folder: Path) -> None:
    """Make the signing key pair ``bench``."""
    command = [program("airgap-bundler"), "keygen", "bench", "-o", str(folder)]
    measure(command, folder=folder, environment=clean_environment(folder))


def build(setting: Setting, folder: Path) -> Sample:
    """One ``airgap-bundler build``: resolve, fetch, pack, sign, verify."""
    images = "\n".join(f"- {setting.source}/bench/{name}:1" for name in setting.corpus.layouts)
    config = folder / "bundle.yaml"
    config.write_text(f"name: bench\nversion: '1'\nregistry: registry.invalid\nimages:\n{images}\n")
    output = setting.kept / "ours"
    key = setting.kept / "bench.key"
    command = ["build", str(config), "-o", str(output), "--key", str(key), "--plain-http"]
    return _measured(folder, output, [program("airgap-bundler"), *command])


def article_build(setting: Setting, folder: Path) -> Sample:
    """``skopeo copy --all`` of each image to ``dir:``, then tar and zstd. Nothing is hashed, signed or synced."""
    output = setting.kept / "article"
    lines = ["mkdir mirror"]
    for name in setting.corpus.layouts:
        source, target = f"docker://{setting.source}/bench/{name}:1", f"dir:mirror/{name}"
        lines.append(f"{_SKOPEO} --src-tls-verify=false {source} {target}")
    lines.append(f"tar -cf - mirror | zstd -q -T0 --long=30 -o {shlex.quote(str(output / ARCHIVE))}")
    return _script(folder, output, lines)


def peer_ways(peer: Peer) -> tuple[Way, Way]:
    """The build and the load of another tool: its config and its lines, in a folder of its own."""

    def build_way(setting: Setting, folder: Path) -> Sample:
        output = setting.kept / peer.name
        _write(peer, setting, folder)
        return _script(folder, output, peer.build(output, ""))

    def load_way(setting: Setting, folder: Path) -> Sample:
        _write(peer, setting, folder)
        return _script(folder, None, peer.load(setting.kept / peer.name, setting.target))

    return build_way, load_way


def _write(peer: Peer, setting: Setting, folder: Path) -> None:
    images = {
        f"{setting.source}/bench/{name}:1": digest_of((layout / "manifest.json").read_bytes())
        for name, layout in setting.corpus.layouts.items()
    }
    for name, text in peer.files(images).items():
        (folder / name).write_text(text)


def load(setting: Setting, folder: Path) -> Sample:
    """One ``airgap-loader load``: verify everything, push, confirm. The cluster side is left out."""
    archive = setting.kept / "ours" / ARCHIVE
    trust = setting.kept / "bench.pub"
    options = ["--trust", str(trust), "--registry", setting.target, "--plain-http", "--no-apply", "--jobs", str(JOBS)]
    command = [program("airgap-loader"), "load", str(archive), *options]
    return measure(command, folder=folder, environment=clean_environment(folder))


def article_load(setting: Setting, folder: Path) -> Sample:
    """Unpack the archive, then ``skopeo copy --all`` of each image to the registry."""
    archive = shlex.quote(str(setting.kept / "article" / ARCHIVE))
    lines = [f"zstd -qdc --long=30 {archive} | tar -xf -"]
    for name in setting.corpus.layouts:
        source, target = f"dir:mirror/{name}", f"docker://{setting.target}/bench/{name}:1"
        lines.append(f"{_SKOPEO} --dest-tls-verify=false {source} {target}")
    return _script(folder, None, lines)


def curl_push(setting: Setting, folder: Path) -> Sample:
    """Every blob once by ``curl --parallel`` into one repository, uploads opened beforehand: a bare floor."""
    connection = http.client.HTTPConnection(setting.target)
    requests = []
    for blob in setting.corpus.blobs:
        connection.request("POST", _UPLOADS, headers={"Content-Length": "0"})
        with connection.getresponse() as answer:
            answer.read()
            location = urllib.parse.urljoin(f"http://{setting.target}/", answer.headers["Location"])
        lines = [f'url = "{location}&digest=sha256:{blob.name}"', f'upload-file = "{blob}"', *_PUT]
        requests.append("\n".join(lines))
    connection.close()
    config = folder / "requests"
    config.write_text("\nnext\n".join(requests) + "\n")
    return measure([*_CURL, str(config)], folder=folder, environment=clean_environment(folder))


def curl_whole_push(setting: Setting, folder: Path) -> Sample:
    """The same with the uploads opened within the time, by ``curl --parallel`` too: what no client is spared."""
    blobs = setting.corpus.blobs
    post = [f'url = "http://{setting.target}{_UPLOADS}"', 'request = "POST"', 'data = ""', *_QUIET]
    opens = [[*post, f'dump-header = "head-{number}"'] for number in range(len(blobs))]
    (folder / "opens").write_text("\nnext\n".join("\n".join(one) for one in opens) + "\n")
    names = "".join(f"head-{number} {blob.name} {blob}\n" for number, blob in enumerate(blobs))
    (folder / "blobs").write_text(names)
    (folder / "put").write_text("\n".join(_PUT) + "\n")
    lines = [
        shlex.join([*_CURL, "opens"]),
        f"awk {shlex.quote(_PUTS)} blobs head-* > requests",
        shlex.join([*_CURL, "requests"]),
    ]
    return _script(folder, None, lines)


_CURL = ["curl", "--parallel", "--parallel-immediate", "--parallel-max", str(JOBS), "--config"]
_UPLOADS = "/v2/bench/curl/blobs/uploads/"
_QUIET = ['output = "/dev/null"', "fail", "silent", "show-error"]
_PUT = ['header = "Expect:"', 'header = "Content-Type: application/octet-stream"', *_QUIET]
# From the answers to POST, and the digest and the file that each upload is for, the configuration of the PUTs.
_PUTS = r"""
FILENAME == "blobs" { digest[$1] = $2; file[$1] = $3; next }
tolower($1) == "location:" {
  sub(/\r$/, "", $2)
  if (n++) print "next"
  printf "url = \"%s&digest=sha256:%s\"\nupload-file = \"%s\"\n", $2, digest[FILENAME], file[FILENAME]
  while ((getline line < "put") > 0) print line
  close("put")
}
"""


# --preserve-digests keeps skopeo from compressing uncompressed layers on the way in, which would change the
# images and cost it more time than anything else here.
_SKOPEO = "skopeo --insecure-policy copy -q --all --preserve-digests"


def fill_source(setting: Setting, folder: Path) -> None:
    """Push all layouts to the source registry."""
    lines = [
        f"{_SKOPEO} --dest-tls-verify=false dir:{shlex.quote(str(path))} docker://{setting.source}/bench/{name}:1"
        for name, path in setting.corpus.layouts.items()
    ]
    _script(folder, None, lines)


def _script(folder: Path, output: Path | None, lines: list[str]) -> Sample:
    # bash, for pipefail: half a pipe that fails must not look fast.
    command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    return _measured(folder, output, command)


def _measured(folder: Path, output: Path | None, command: list[str]) -> Sample:
    """Measure ``command``; what it leaves in ``output`` does not count as disk used beside it."""
    if output is None:
        return measure(command, folder=folder, environment=clean_environment(folder))
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    sample = measure(command, folder=folder, environment=clean_environment(folder), output=output)
    return dataclasses.replace(sample, disk=sample.disk - disk_usage([output]))
