from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.config import BuildConfig, ManifestFile, MirrorConfig, load_config, narrowed, parse_config, read_file
from bundler.origin import SkopeoOrigin
from loader.bundle.errors import ConfigError
from loader.oci.model import ImageRef

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MINIMAL = f"""\
name: rook-ceph
version: "2020.10"
registry: reg:5000
images:
- docker.io/ceph/ceph@{A}
"""
ROOK = MINIMAL + "rook:\n  version: v1.5.0\n"
OBJECT = b"apiVersion: v1\nkind: Namespace\nmetadata: {name: rook-ceph}\n"
NAMES = b"# the article's\nceph docker.io/ceph/ceph:v15\nquay.io/a/other:1\nx A\n"
FOLDERS = {"mirror": ["ceph", "lonely", "other"], "empty": [], "bare": ["x"], "good": ["ceph", "other"]}
FILES = {
    "mirror/names.txt": NAMES,
    "empty/names.txt": b"",
    "good/names.txt": NAMES.replace(b"x A\n", b""),
    "manifests/common.yaml": OBJECT,
    "manifests/broken.yaml": b"kind: X\n---\na: 1:30\n",
}


def read(path: Path, cap: int) -> bytes:
    name = path.relative_to("/site").as_posix()
    if name not in FILES:
        raise ConfigError(f"{name} cannot be read", why="No such file or directory")
    assert cap >= len(FILES[name])
    return FILES[name]


def folders(pattern: Path) -> list[str]:
    name = pattern.relative_to("/site").parent.as_posix()
    if name not in FOLDERS:
        raise ConfigError(f"{name} cannot be listed", why="No such file or directory")
    return FOLDERS[name]


def config(text: str) -> BuildConfig:
    return parse_config(text.encode(), directory=Path("/site"), what="bundle.yaml", read=read, folders=folders)


def faults(text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        config(text)
    return list(caught.value.faults)


def images(*lines: str, paths: str = "drop-host") -> str:
    head = MINIMAL.replace(f"- docker.io/ceph/ceph@{A}\n", "").replace("images:\n", f"paths: {paths}\nimages:\n")
    return head + "".join(f"- {line}\n" for line in lines)


def test_defaults() -> None:
    found = config(MINIMAL)
    assert (found.name, found.version, found.registry) == ("rook-ceph", "2020.10", "reg:5000")
    assert (found.sequence, found.not_after, found.platforms, found.paths) == (None, None, (), "drop-host")
    assert found.mirrors == MirrorConfig("rook-ceph", "namespace", never_contact_source=False)
    assert (found.rook, found.manifests) == (None, ())
    (image,) = found.images
    assert image.name == image.origin == ImageRef("docker.io", "ceph/ceph", None, A)
    assert (image.repository, image.line) == ("ceph/ceph", 5)


def test_every_field() -> None:
    found = config(
        f"""\
name: r
version: v1
sequence: 0
notAfter: 2027-01-01T00:00:00Z
registry: reg.local:5000/mirror/a
platforms: all
paths: keep-host
images:
- quay.io/x/y:1
- image: docker.io/ceph/ceph:v15@{A}
  from: docker://other.example:5000/copy@{A}
- image: busybox
  from: dir:layouts/busybox
mirrors: {{name: some.name, scope: repository, neverContactSource: true, tags: true}}
rook:
  version: 1.5.0
  from: "  >=v1.4.0   <v1.6.0 "
  operatorNamespace: ops
  clusterNamespace: storage
  cephCluster: my.ceph
  images: {{ceph: docker.io/ceph/ceph:v15}}
manifests:
- {{path: manifests/common.yaml, phase: before-rook}}
"""
    )
    assert (found.sequence, found.not_after, found.registry) == (0, "2027-01-01T00:00:00Z", "reg.local:5000/mirror/a")
    assert [image.repository for image in found.images] == [
        "quay.io/x/y",
        "docker.io/ceph/ceph",
        "docker.io/library/busybox",
    ]
    assert [str(image.origin) for image in found.images] == [
        "quay.io/x/y:1",
        f"other.example:5000/copy@{A}",
        "/site/layouts/busybox",
    ]
    assert str(found.images[2].name) == "docker.io/library/busybox:latest"
    assert found.mirrors == MirrorConfig("some.name", "repository", never_contact_source=True, tags=True)
    assert found.rook is not None
    assert (found.rook.version, found.rook.running) == ("v1.5.0", ">=v1.4.0 <v1.6.0")
    assert (found.rook.operator_namespace, found.rook.cluster_namespace, found.rook.ceph_cluster) == (
        "ops",
        "storage",
        "my.ceph",
    )
    assert found.rook.images == {"ceph": ImageRef("docker.io", "ceph/ceph", "v15", None)}
    content = (
        b'{"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"rook-ceph"}}],'
        b'"kind":"List"}'
    )
    assert found.manifests == (ManifestFile("manifests/common.yaml", "before-rook", content),)


def test_folders_of_layouts_get_their_names_from_a_file() -> None:
    found = config(images("{fromDirs: good/*, platforms: [linux/amd64]}", "a/b:1"))
    assert [(str(image.name), str(image.origin), image.platforms) for image in found.images] == [
        ("docker.io/ceph/ceph:v15", "/site/good/ceph", ("linux/amd64",)),
        ("quay.io/a/other:1", "/site/good/other", ("linux/amd64",)),
        ("docker.io/a/b:1", "docker.io/a/b:1", ()),
    ]


def test_platforms_of_the_bundle_hold_unless_an_image_has_its_own() -> None:
    text = images("a/b:1", "{image: a/c, platforms: all}", "{image: a/d, platforms: [linux/s390x]}")
    found = config(text + "platforms: [linux/amd64, linux/arm/v7, linux/amd64]\n")
    assert found.platforms == ("linux/amd64", "linux/arm/v7")
    assert [image.platforms for image in found.images] == [found.platforms, (), ("linux/s390x",)]
    one = narrowed(found, ["linux/arm64"], rewrite=True)
    assert {image.platforms for image in one.images} == {("linux/arm64",)}
    assert all(image.rewrite for image in one.images)
    assert [image.platforms for image in narrowed(found, (), rewrite=False).images] == [
        image.platforms for image in found.images
    ]
    with pytest.raises(ConfigError, match="not os/architecture"):
        narrowed(found, ["amd64"], rewrite=False)


def test_places_that_skopeo_reads() -> None:
    found = config(images("{image: a/b, from: oci:x/y:1}", "{image: a/c, from: 'containers-storage:localhost/c'}"))
    assert [image.origin for image in found.images] == [
        SkopeoOrigin("oci", "/site/x/y:1"),
        SkopeoOrigin("containers-storage", "localhost/c"),
    ]


def test_rook_defaults() -> None:
    found = config(ROOK).rook
    assert found is not None
    assert found.running == ">=v1.4.0 <v1.6.0"
    assert {found.operator_namespace, found.cluster_namespace, found.ceph_cluster} == {"rook-ceph"}


def test_anchors_work() -> None:
    found = config(MINIMAL.replace("version:", "version: &v") + "mirrors: {name: m}\n")
    assert found.version == "2020.10"
    text = MINIMAL.replace("name: rook-ceph", "name: &n rook-ceph") + "mirrors: {name: *n}\n"
    assert config(text).mirrors.name == "rook-ceph"


# (what is put in place of which line of MINIMAL or added to it, place, part of the problem)
CASES = [
    ("nmae: x", "nmae (line 6)", "unknown key; did you mean `name`?"),
    ("notafter: x", "notafter (line 6)", "did you mean `notAfter`?"),
    ("zzz: x", "zzz (line 6)", "unknown key"),
    ("not_after: x", "not_after (line 6)", "did you mean `notAfter`?"),
    ("name: x", "line 6", "key 'name' occurs twice, first in line 1"),
    ("sequence: -1", "sequence (line 6)", "-1 is not from 0 to"),
    ("sequence: 9007199254740992", "sequence (line 6)", "is not from 0 to"),
    ("sequence: '3'", "sequence (line 6)", "must be a whole number, not a string"),
    ("sequence: true", "sequence (line 6)", "must be a whole number, not a boolean"),
    ("sequence: 1.0", "sequence (line 6)", "must be a whole number, not a number"),
    ("sequence:", "sequence (line 6)", "must be a whole number, not empty"),
    ("notAfter: 2027-01-01", "notAfter (line 6)", "is not a UTC time such as 2027-01-01T00:00:00Z"),
    ("notAfter: 2027-02-30T00:00:00Z", "notAfter (line 6)", "is not a UTC time"),
    ("notAfter: 2027-01-01T00:00:00+00:00", "notAfter (line 6)", "is not a UTC time"),
    ("platforms: [amd64]", "platforms[0] (line 6)", "is not os/architecture[/variant] such as linux/arm/v7"),
    ("platforms: []", "platforms (line 6)", "lists no platform"),
    ("platforms: linux/amd64", "platforms (line 6)", "is not one of all"),
    ("paths: keep", "paths (line 6)", "did you mean `keep-host`?"),
    ("mirrors: {scope: names}", "mirrors.scope (line 6)", "is not one of namespace, repository, registry"),
    ("mirrors: {neverContactSource: 'true'}", "mirrors.neverContactSource (line 6)", "must be true or false"),
    ("mirrors: {tags: 1}", "mirrors.tags (line 6)", "must be true or false"),
    ("mirrors: {name: A_b}", "mirrors.name (line 6)", "is not a Kubernetes object name"),
    ("mirrors: x", "mirrors (line 6)", "must be a mapping, not a string"),
    ("mirrors: {nam: x}", "mirrors.nam (line 6)", "did you mean `name`?"),
    ("rook: {}", "rook.version (line 6)", "is missing"),
    ("rook: {version: 1.5}", "rook.version (line 6)", 'YAML reads 1.5 as a number; put it in quotes: "1.5"'),
    ("rook: {version: master}", "rook.version (line 6)", "is not a Rook release such as v1.5.0"),
    ("rook: {version: v1.3.0}", "rook.version (line 6)", "is not supported"),
    ("rook: {version: v2.0.0}", "rook.version (line 6)", "is not supported"),
    ("rook: {version: v1.5.0, from: '>=v1.6.0'}", "rook.from (line 6)", "leaves out v1.5.0 itself"),
    ("rook: {version: v1.5.0, from: newest}", "rook.from (line 6)", "is not a range such as '>=v1.4.0 <v1.6.0'"),
    ("rook: {version: v1.5.0, from: ''}", "rook.from (line 6)", "is not a range"),
    ("rook: {version: v1.19.0, from: '>=v1.18.0'}", "rook.from (line 6)", "reaches v1.20"),
    ("rook: {version: v1.5.0, cephCluster: Main}", "rook.cephCluster (line 6)", "is not a Kubernetes object name"),
    ("rook: {version: v1.5.0, operatorNamespace: a.b}", "rook.operatorNamespace (line 6)", "is not 1 to 63"),
    ("rook: {version: v1.5.0, images: {cehp: x}}", "rook.images.cehp (line 6)", "did you mean `ceph`?"),
    ("rook: {version: v1.5.0, images: {ceph: x:1}}", "rook.images.ceph (line 6)", "is not in images"),
    ("rook: {version: v1.5.0, images: [x]}", "rook.images (line 6)", "must be a mapping, not a list"),
    ("manifests: {path: x}", "manifests (line 6)", "must be a list, not a mapping"),
    ("manifests: [{path: x}]", "manifests[0].phase (line 6)", "is missing"),
    ("manifests: [{phase: rook, path: a}]", "manifests[0].phase (line 6)", "is not one of before-rook, after-rook"),
    (
        "manifests: [{path: manifests/common.yaml, phase: after-rook, pin: 1}]",
        "manifests[0].pin (line 6)",
        "must be true or false, not a number",
    ),
    (
        "manifests: [{path: none.yaml, phase: after-rook}]",
        "manifests[0].path (line 6)",
        "none.yaml cannot be read: No such",
    ),
    ("manifests: [{path: '', phase: after-rook}]", "manifests[0].path (line 6)", "is empty"),
    (
        "manifests: [{path: manifests/broken.yaml, phase: after-rook}]",
        "manifests[0].path (line 6)",
        "/site/manifests/broken.yaml line 3: '1:30' reads differently",
    ),
]


@pytest.mark.parametrize(("line", "place", "problem"), CASES)
def test_a_wrong_line_is_a_fault_with_its_place(line: str, place: str, problem: str) -> None:
    found = faults(MINIMAL + line + "\n")
    assert any(where == place and problem in why for where, why in found), found


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        ("name: rook-ceph\n", "", "name (line 1)", "is missing"),
        ('version: "2020.10"\n', "", "version (line 1)", "is missing"),
        ('"2020.10"', "2020.10", "version (line 2)", 'YAML reads 2020.10 as a number; put it in quotes: "2020.10"'),
        ('"2020.10"', "yes", "version (line 2)", "YAML reads yes as a boolean; put it in quotes"),
        ('"2020.10"', '"a b"', "version (line 2)", "is not 1 to 64 of letters"),
        ('"2020.10"', '"' + "a" * 65 + '"', "version (line 2)", "is not 1 to 64"),
        ("name: rook-ceph", "name: Rook", "name (line 1)", "is not 1 to 48"),
        ("name: rook-ceph", "name: " + "a" * 49, "name (line 1)", "is not 1 to 48"),
        ("name: rook-ceph", 'name: "a\\n"', "name (line 1)", "is not 1 to 48"),
        ("name: rook-ceph", "name: [a]", "name (line 1)", "must be a string, not a list"),
        ("reg:5000", "https://reg:5000", "registry (line 3)", "no scheme belongs there"),
        ("reg:5000", "reg:99999", "registry (line 3)", "is not a registry"),
        ("reg:5000", "reg:5000/", "registry (line 3)", "is not a registry"),
        ("reg:5000", "reg", "registry (line 3)", "neither dot nor port"),
        ("reg:5000", "'[::1]:5000'", "registry (line 3)", "OpenShift's mirror objects cannot name"),
        ("reg:5000", "reg/" + "a" * 250, "images[0] (line 5)", "at most 255 characters"),
        (f"images:\n- docker.io/ceph/ceph@{A}\n", "images: []\n", "images (line 4)", "lists no image"),
        (f"images:\n- docker.io/ceph/ceph@{A}\n", "images: x\n", "images (line 4)", "must be a list"),
    ],
)
def test_a_wrong_required_field(old: str, new: str, place: str, problem: str) -> None:
    assert old in MINIMAL
    found = faults(MINIMAL.replace(old, new))
    assert any(where == place and problem in why for where, why in found), found


@pytest.mark.parametrize(
    ("lines", "place", "problem"),
    [
        (("Foo",), "images[0] (line 6)", "is not an image reference"),
        (("3",), "images[0] (line 6)", "must be an image name, or a mapping"),
        (("'[::1]:5000/a/b:1'",), "images[0] (line 6)", "OpenShift's mirror objects cannot name"),
        (("{from: dir:x}",), "images[0].image (line 6)", "is missing"),
        (("{image: a/b, form: dir:x}",), "images[0].form (line 6)", "did you mean `from`?"),
        (("{image: a/b, from: mirror/x}",), "images[0].from (line 6)", "is not dir:PATH, docker://REFERENCE or oci:"),
        (("{image: a/b, from: 'dir:'}",), "images[0].from (line 6)", "is not dir:PATH"),
        (("{image: a/b, from: docker://A}",), "images[0].from (line 6)", "is not an image reference"),
        (("{image: a/b, from: 'oci:'}",), "images[0].from (line 6)", "is not dir:PATH"),
        (("{image: a/b, from: ostree:x}",), "images[0].from (line 6)", "is not dir:PATH"),
        (("{image: a/b, platforms: [amd64]}",), "images[0].platforms[0] (line 6)", "is not os/architecture"),
        (("{image: a/b, fromDirs: mirror/*}",), "images[0].image (line 6)", "unknown key"),
        (("fromDirs: mirror/",), "images[0].fromDirs (line 6)", "is not a folder's path ending in a pattern"),
        (("fromDirs: none/*",), "images[0].fromDirs (line 6)", "cannot be listed"),
        (("fromDirs: empty/*",), "images[0].fromDirs (line 6)", "matches no folder"),
        (("fromDirs: bare/*",), "images[0].fromDirs (line 6)", "names.txt cannot be read"),
        (("fromDirs: mirror/*",), "images[0].fromDirs (line 6)", "names.txt line 4: 'A' is not an image reference"),
        (("fromDirs: mirror/*",), "images[0].fromDirs (line 6)", "names.txt has no name for lonely"),
        (("a/b:1", "a/b:1"), "images[1] (line 7)", "docker.io/a/b:1 is images[0] again"),
        (("busybox", "docker.io/library/busybox:latest"), "images[1] (line 7)", "is images[0] again"),
        (("a/b:1", f"a/b:1@{A}"), "images[1] (line 7)", "is images[0] again; keep the one with the digest"),
        ((f"a/b@{A}", f"a/b@{A}"), "images[1] (line 7)", "is images[0] again"),
        ((f"a/b:1@{A}", f"a/b:1@{B}"), "images[1] (line 7)", "both become a/b:1, with different digests"),
        (
            (f"docker.io/rook/ceph:1@{A}", f"quay.io/rook/ceph:1@{B}"),
            "images[1] (line 7)",
            "both become rook/ceph:1, with different digests",
        ),
        (
            (f"{{image: a/b:1@{A}, from: 'docker://c/d@{B}'}}",),
            "images[0].from (line 6)",
            "has another digest than docker.io/a/b:1",
        ),
    ],
)
def test_wrong_images(lines: tuple[str, ...], place: str, problem: str) -> None:
    found = faults(images(*lines))
    assert any(where == place and problem in why for where, why in found), found


@pytest.mark.parametrize(
    "lines",
    [
        (f"a/b:1@{A}", f"a/b:2@{A}"),
        (f"a/b@{A}", f"a/b@{B}"),
        (f"docker.io/rook/ceph:1@{A}", f"quay.io/rook/ceph:1@{A}"),
        ("docker.io/rook/ceph:1", "quay.io/rook/ceph:1"),
    ],
)
def test_images_that_do_not_clash_as_far_as_the_config_shows(lines: tuple[str, ...]) -> None:
    assert len(config(images(*lines)).images) == 2


def test_keep_host_parts_what_drop_host_lets_clash() -> None:
    lines = (f"docker.io/rook/ceph:1@{A}", f"quay.io/rook/ceph:1@{B}")
    assert [image.repository for image in config(images(*lines, paths="keep-host")).images] == [
        "docker.io/rook/ceph",
        "quay.io/rook/ceph",
    ]


def test_all_faults_are_listed_at_once_in_line_order() -> None:
    found = faults(
        "nmae: x\nversion: 1.0\nregistry: reg:1\nimages:\n- A\n- a/b\n- a/b\npaths: !!str x\nplatforms: [a]\nrook: 1\n"
    )
    assert [place for place, _ in found] == [
        "nmae (line 1)",
        "name (line 1)",
        "version (line 2)",
        "images[0] (line 5)",
        "images[2] (line 7)",
        "line 8",
        "paths (line 8)",
        "platforms[0] (line 9)",
        "rook (line 10)",
    ]


@pytest.mark.parametrize(
    ("data", "place", "problem"),
    [
        (b"", "line 1", "the file is empty"),
        (b"# only a comment\n", "line 1", "the file is empty"),
        (b"name: a\n---\nname: b\n", "line 3", "one YAML document"),
        (b"- a\n", "line 1", "must be a mapping, not a list"),
        (b"name: [a\n", "line 2", "not YAML"),
        (b"x" * ((1 << 20) + 1), "line 1", "larger than"),
        (
            b"a: &a [x,x,x,x,x,x,x,x]\n" + b"".join(b"b%d: [*a,*a]\n" % n for n in range(3000)),
            "line ",
            "aliases counted",
        ),
    ],
)
def test_files_that_are_no_config(data: bytes, place: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(data, directory=Path("/site"), what="bundle.yaml", read=read)
    assert any(where.startswith(place) and problem in why for where, why in caught.value.faults), caught.value.faults
    assert caught.value.message.startswith("bundle.yaml has ")


def test_key_names_are_shown_printable() -> None:
    (fault,) = faults(MINIMAL + '"a\\x1b[31m": 1\n')
    assert fault == ("'a\\x1b[31m' (line 6)", "unknown key")


def test_load_config_reads_files_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_bytes(OBJECT)
    path = tmp_path / "bundle.yaml"
    path.write_text(MINIMAL + "manifests:\n- {path: common.yaml, phase: after-rook}\n", encoding="utf-8")
    (manifest,) = load_config(path).manifests
    assert (manifest.path, manifest.phase) == ("common.yaml", "after-rook")


def test_a_missing_config_is_an_error_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bundle\.yaml cannot be read: No such file") as caught:
        load_config(tmp_path / "bundle.yaml")
    assert caught.value.exit_code == 2


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        read_file(tmp_path / "pipe", 10)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path, 10)
    with pytest.raises(ConfigError, match="null"):
        read_file(tmp_path / "a\0b", 10)


def test_no_more_than_the_cap_and_one_byte_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_file(tmp_path / "file", 10) == b"x" * 11
