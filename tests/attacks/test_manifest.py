"""A ``bundle.json`` that says what it must not, signed by a key that is trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Optional

import pytest

from loader.bundle import manifest as m
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import FormatError, TrustError
from loader.bundle.prediction import decode_manifest
from loader.bundle.rules import check_manifest
from loader.bundle.sums import render_sums
from tests.support.bundles import (
    ARCHIVE,
    REGISTRY,
    Recipe,
    full_recipe,
    make_document,
    open_head,
    tiny_recipe,
    verify,
)
from tests.support.refusals import refused

GOOD = m.encode(tiny_recipe().manifest)
LINK = next(file for file in full_recipe().manifest.files if file.link_to)
DOCUMENT = "documents/before-rook/common.json"


def with_json(data: bytes) -> bytes:
    return replace(tiny_recipe(), json=data).archive()


def with_value(key: str, value: str) -> bytes:
    """The manifest with the JSON text ``value`` for a field, everything else in canonical form."""
    plain = json.loads(GOOD)
    plain[key] = "THE-VALUE"
    text = json.dumps(plain, sort_keys=True, separators=(",", ":")) + "\n"
    return text.replace('"THE-VALUE"', value).encode()


def test_the_makers_make_a_good_manifest() -> None:
    assert verify(with_json(GOOD)).bundle.manifest == tiny_recipe().manifest
    assert with_value("sequence", "7") == GOOD


TEXTS = {
    "a duplicate key": (GOOD.replace(b'"name":', b'"name":"other","name":', 1), "duplicate key"),
    "the same key and value twice": (GOOD.replace(b'"base":null', b'"base":null,"base":null', 1), "duplicate key"),
    "a duplicate key deep inside": (GOOD.replace(b'"size":', b'"size":1,"size":', 1), "duplicate key"),
    "an unknown field": (GOOD.replace(b'"version":', b'"verify":false,"version":'), "verify"),
    "an unknown field deep inside": (GOOD.replace(b'"stored":', b'"run":"sh","stored":', 1), "run"),
    "a missing field": (GOOD.replace(b'"base":null,', b""), "base"),
    "100,000 levels of lists": (with_value("images", "[" * 100_000 + "]" * 100_000), "nested too deeply"),
    "100,000 levels of objects": (with_value("images", '{"a":' * 100_000 + "1" + "}" * 100_000), "nested too deeply"),
    "33 levels": (with_value("images", "[" * 32 + "]" * 32), "nested too deeply"),
    "an endless list": (b"[" * 100_000, "nested too deeply"),
    "a float": (with_value("sequence", "7.0"), "sequence"),
    "an exponent": (with_value("sequence", "7e0"), "sequence"),
    "NaN": (with_value("sequence", "NaN"), "NaN"),
    "Infinity": (with_value("sequence", "Infinity"), "Infinity"),
    "1e400": (with_value("sequence", "1e400"), "sequence"),
    "a negative number": (with_value("sequence", "-1"), "sequence"),
    "minus zero": (with_value("sequence", "-0"), "canonical"),
    "2^53": (with_value("sequence", str(2**53)), "sequence"),
    "2^63": (with_value("sequence", str(2**63)), "sequence"),
    "a number of 5,000 digits": (with_value("sequence", "9" * 5000), "bundle.json"),
    "a leading zero": (with_value("sequence", "07"), "bundle.json"),
    "a number as text": (with_value("sequence", '"7"'), "sequence"),
    "true for a number": (with_value("sequence", "true"), "sequence"),
    "a number for true": (with_value("complete", "1"), "complete"),
    "null for a text": (with_value("name", "null"), "name"),
    "a list for a text": (with_value("name", '["demo"]'), "name"),
    "an object for a list": (with_value("images", "{}"), "images"),
    "a list for an object": (with_value("builder", "[]"), "builder"),
    "a list in all": (b"[]\n", "bundle.json"),
    "a space after a colon": (GOOD.replace(b'"base":null', b'"base": null'), "canonical"),
    "keys in another order": (
        GOOD.replace(b'"attachments":[],"base":null', b'"base":null,"attachments":[]'),
        "canonical",
    ),
    "an escaped letter": (GOOD.replace(b'"demo"', b'"\\u0064emo"'), "canonical"),
    "no line feed at its end": (GOOD[:-1], "canonical"),
    "two line feeds": (GOOD + b"\n", "canonical"),
    "a carriage return": (GOOD[:-1] + b"\r\n", "canonical"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "bundle.json"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "bundle.json"),
    "bytes that are no UTF-8": (GOOD.replace(b"demo", b"d\xffmo"), "bundle.json"),
    "a zero byte": (GOOD.replace(b"demo", b"d\0mo"), "bundle.json"),
    "an escape sequence": (GOOD.replace(b"airgap-bundler test", b"\\u001b[2J"), "printable"),
    "a letter that looks like another": (GOOD.replace(b"airgap-bundler test", b"\\u0430irgap"), "printable"),
    "a lone surrogate": (GOOD.replace(b"airgap-bundler test", b"\\ud800"), "printable"),
    "no value at all": (b"", "bundle.json"),
    "half of itself": (GOOD[: len(GOOD) // 2], "bundle.json"),
    "another document behind it": (GOOD + GOOD, "bundle.json"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_manifest_with(name: str) -> None:
    data, word = TEXTS[name]
    with refused(FormatError, word):
        verify(with_json(data))


VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "a newer format": ({"format_version": 2}, "formatVersion"),
    "format zero": ({"format_version": 0}, "formatVersion"),
    "an empty name": ({"name": ""}, "name"),
    "a name with ..": ({"name": "../demo"}, "name"),
    "a name in capitals": ({"name": "Demo"}, "name"),
    "a name of 49 letters": ({"name": "a" * 49}, "name"),
    "a version with a slash": ({"version": "1/2"}, "version"),
    "a version of 65 letters": ({"version": "1" * 65}, "version"),
    "a version that is an option": ({"version": "-rf"}, "version"),
    "a month 13": ({"created": "2025-13-01T00:00:00Z"}, "created"),
    "a time zone": ({"created": "2025-12-01T00:00:00+01:00"}, "created"),
    "a day of one digit": ({"created": "2025-12-1T00:00:00Z"}, "created"),
    "no time": ({"not_after": ""}, "notAfter"),
    "a registry with a user": ({"registry": "me:pw@registry.example"}, "registry"),
    "a registry with a scheme": ({"registry": "https://registry.example"}, "registry"),
    "a registry with ..": ({"registry": "registry.example/../other"}, "registry"),
    "a registry of 600 letters": ({"registry": "a." * 300}, "registry"),
    "a base and complete": ({"base": "0" * 64}, "complete"),
    "no base and incomplete": ({"complete": False}, "complete"),
    "a base that is no id": ({"complete": False, "base": "../x"}, "base"),
    "needs although complete": ({"requires": (m.Require("sha256:" + "0" * 64, 1, ()),)}, "requires"),
    "a smaller payload": ({"payload_size": 1024}, "payloadSize"),
    "a larger payload": ({"payload_size": 2**53 - 1}, "payloadSize"),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_manifest_with_a_wrong_value(name: str) -> None:
    fields, word = VALUES[name]
    with refused(FormatError, word):
        verify(tiny_recipe().change(**fields).archive())


@pytest.mark.parametrize("field", ["name", "version", "created", "registry"])
def test_a_trailing_newline_in(field: str) -> None:
    # ``$`` of a regular expression lets it through; in canonical JSON it is \\n, and not printable.
    value = getattr(tiny_recipe().manifest, field)
    with refused(FormatError, field, "printable"):
        verify(tiny_recipe().change(**{field: value + "\n"}).archive())


def delta(**fields: Any) -> Recipe:
    need = replace(m.Require("sha256:" + "1" * 64, 1, ("apps/app0",)), **fields)
    return tiny_recipe().change(complete=False, base="0" * 64, requires=(need,))


def test_needs_of_a_delta() -> None:
    assert open_head(delta().archive()).manifest.requires[0].size == 1
    with refused(FormatError, "requires[0]"):
        verify(delta(digest="sha256:../..").archive())
    with refused(FormatError, "requires[0]"):
        verify(delta(repositories=("apps/../app",)).archive())
    with refused(FormatError, "requires[1]"):
        verify(delta().change(requires=delta().manifest.requires * 2).archive())


NAMES = {
    "..": "documents/../evil",
    ". as a part": "documents/./evil",
    ".. alone": "..",
    "an absolute path": "/etc/cron.d/evil",
    "an empty part": "documents//evil",
    "a slash at its end": "documents/evil/",
    "a space": "documents/e vil",
    "a backslash": "documents\\evil",
    "a colon": "documents/c:evil",
    "a wildcard": "documents/*",
    "a shell's dollar": "documents/$(reboot)",
    "a letter beyond ASCII": "documents/\u00e9vil",
    "an escape sequence": "documents/\x1b[2J",
    "a newline at its end": "documents/evil\n",
    "a zero byte": "documents/evil\0",
    "257 letters": "documents/" + "a" * 247,
    "101 letters and no slash to cut at": "documents/" + "a" * 101,
    "nothing": "",
    "another place": "bin/evil",
    "the name of the manifest": "bundle.json",
    "the name of the list": "SHA256SUMS",
    "the name of a signature": "SHA256SUMS.evil.sig",
    "its folder alone": "documents",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_whose_name_has(name: str) -> None:
    path = NAMES[name]
    recipe = tiny_recipe()
    # The list is made without asking whether it can be: an attacker's own program wrote it.
    listed = m.File(path, 1, sha256_hex(b"x"), "raw", None)
    manifest = replace(recipe.manifest, files=(*recipe.manifest.files, listed))
    data = m.encode(manifest)
    lines = sorted(f"{file.sha256}  {file.path}\n" for file in manifest.files)
    sums = "".join(lines).encode("utf-8") + f"{sha256_hex(data)}  bundle.json\n".encode()
    shown = ascii(path)[1:-1] if path.isascii() and path.isprintable() else "files[4]"
    with refused(FormatError, shown[:80]):
        verify(replace(recipe, json=data, sums=sums).archive())


def test_a_file_that_is_also_a_folder() -> None:
    recipe = full_recipe().put(DOCUMENT + "/inside", b"x")
    with refused(FormatError, DOCUMENT, "a file and a folder at once"):
        verify(recipe.archive())


def test_a_path_listed_twice() -> None:
    files = tiny_recipe().manifest.files
    with refused(FormatError, files[0].path, "occurs once"):
        verify(tiny_recipe().change(files=(*files, files[0])).archive())


FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "a hash in capitals": (DOCUMENT, {"sha256": "A" * 64}),
    "a short hash": (DOCUMENT, {"sha256": "0" * 63}),
    "a hash that is a path": (DOCUMENT, {"sha256": "../../../etc/passwd"}),
    "more than a tebibyte": (DOCUMENT, {"size": 2**40 + 1}),
    "no bytes and a hash": (DOCUMENT, {"size": 0}),
    "bytes and the hash of none": (DOCUMENT, {"sha256": sha256_hex(b"")}),
    "an unknown way to be stored": (DOCUMENT, {"stored": "xz"}),
    "no way to be stored": (DOCUMENT, {"stored": None}),
    "compression and is small": (DOCUMENT, {"stored": "zstd"}),
    "a link to a missing file": (LINK.path, {"link_to": "images/0000-app0/" + "0" * 64}),
    "a link to itself": (LINK.path, {"link_to": LINK.path}),
    "a link to a link": (full_recipe().manifest.files[-1].path, {"link_to": LINK.path}),
    "a link to other content": (LINK.path, {"link_to": DOCUMENT}),
    "a link to another size": (LINK.path, {"size": LINK.size + 1}),
    "a link that is stored": (LINK.path, {"stored": "raw"}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_has(name: str) -> None:
    path, fields = FILES[name]
    recipe = full_recipe()
    place = [file.path for file in recipe.manifest.files].index(path)
    changed = recipe.edit_file(path, **fields)
    with refused(FormatError, f"files[{place}]"):
        verify(replace(recipe, json=m.encode(changed.manifest), sums=changed.head.sums).archive())


def test_a_link_to_a_later_member() -> None:
    recipe = full_recipe()
    target = next(file for file in recipe.manifest.files if file.path == LINK.link_to)
    swap = {LINK.path: target, target.path: LINK}
    recipe = recipe.change(files=tuple(swap.get(file.path, file) for file in recipe.manifest.files))
    with refused(FormatError, "files[", LINK.link_to or "", "earlier"):
        verify(recipe.archive())


def test_a_link_in_place_of_a_manifest() -> None:
    recipe = full_recipe()
    path = "images/0001-app1/manifest.json"
    target = next(file for file in recipe.manifest.files if file.path == "images/0000-app0/manifest.json")
    with refused(FormatError, "files[", "a link is a blob"):
        verify(
            recipe.edit_file(path, stored=None, link_to=target.path, size=target.size, sha256=target.sha256).archive()
        )


def test_a_link_whose_target_is_too_long_for_a_header() -> None:
    recipe = full_recipe()
    digest = sha256_hex(b"x")
    long = "documents/" + "d" * 40 + "/" + digest
    listed = (m.File(long, 1, digest, "raw", None), m.File(f"documents/{digest}", 1, digest, None, long))
    data = m.encode(replace(recipe.manifest, files=(*recipe.manifest.files, *listed)))
    sums = render_sums((*recipe.manifest.files, *listed), sha256_hex(data))
    with refused(FormatError, "files[", long):
        verify(replace(recipe, json=data, sums=sums).archive())


DOCUMENTS: dict[str, m.Document] = {
    "a file that is not there": make_document("documents/none"),
    "a file of an image": make_document("images/0000-app0/version"),
    "an unknown phase": make_document(DOCUMENT, phase="first"),
    "an unknown action": make_document(DOCUMENT, action="run"),
    "an unknown otherwise": make_document(DOCUMENT, otherwise="ignore"),
    "an unknown wait": make_document(DOCUMENT, wait="forever"),
    "a patch of nothing": make_document(DOCUMENT, action="merge-patch"),
    "a target in a namespace that is an option": make_document(DOCUMENT, target=m.Target("v1", "ConfigMap", "-A", "x")),
    "a target with a slash": make_document(DOCUMENT, target=m.Target("v1", "ConfigMap", "a/b", "x")),
    "a target that is an option": make_document(DOCUMENT, target=m.Target("v1", "ConfigMap", None, "--all")),
    "a target of no API": make_document(DOCUMENT, target=m.Target("V1", "ConfigMap", None, "x")),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_with(name: str) -> None:
    with refused(FormatError, "documents[0]"):
        verify(full_recipe().change(documents=(DOCUMENTS[name],)).archive())


@pytest.mark.parametrize("namespace", [None, "rook-ceph"])
def test_a_document_with_a_good_target(namespace: Optional[str]) -> None:
    target = m.Target("apps/v1", "Deployment", namespace, "rook-ceph-operator")
    good = make_document(DOCUMENT, action="strategic-patch", target=target, wait="rollout")
    assert verify(full_recipe().change(documents=(good,)).archive()).bundle.manifest.documents == (good,)


def test_a_document_listed_twice() -> None:
    with refused(FormatError, "documents[1]"):
        verify(full_recipe().change(documents=full_recipe().manifest.documents * 2).archive())


def test_a_document_larger_than_any_object() -> None:
    with refused(FormatError, "documents[0]", DOCUMENT):
        verify(full_recipe().put(DOCUMENT, bytes(4 * 2**20 + 1)).archive())


MIRRORS = {
    "outside of the registry": m.Mirror("docker.io/x", "evil.example/x", "NeverContactSource"),
    "beside the registry": m.Mirror("docker.io/x", REGISTRY + "1/x", "NeverContactSource"),
    "under an unknown policy": m.Mirror("docker.io/x", REGISTRY + "/x", "Sometimes"),
    "for a wildcard inside": m.Mirror("docker.*.io", REGISTRY + "/x", "NeverContactSource"),
    "for a URL": m.Mirror("https://docker.io", REGISTRY + "/x", "NeverContactSource"),
}


@pytest.mark.parametrize("name", MIRRORS)
def test_a_mirror(name: str) -> None:
    with refused(FormatError, "mirrors[0]"):
        verify(tiny_recipe().change(mirrors=(MIRRORS[name],)).archive())


def test_a_list_and_a_manifest_that_disagree() -> None:
    recipe = tiny_recipe()
    files, data = recipe.manifest.files, m.encode(recipe.manifest)
    honest = recipe.head.sums
    lines = honest.splitlines(keepends=True)
    other = sha256_hex(b"other")
    lists = {
        "a hash changed": render_sums((replace(files[0], sha256=other), *files[1:]), sha256_hex(data)),
        "a line missing": b"".join(lines[1:]),
        "a line added": honest + f"{other}  evil\n".encode(),
        "a line twice": honest + lines[-1],
        "a line twice with two hashes": honest + f"{other}  {files[0].path}\n".encode(),
        "lines not sorted": b"".join(reversed(lines)),
        "one space": honest.replace(b"  ", b" "),
        "binary marks": honest.replace(b"  ", b" *"),
        "capitals": honest.upper(),
        "CRLF": honest.replace(b"\n", b"\r\n"),
        "no line feed at its end": honest[:-1],
        "a byte order mark": b"\xef\xbb\xbf" + honest,
        "a leading ./": honest.replace(b"  ", b"  ./"),
        "a line of 4 MiB": honest + b"a" * 2**22 + b"\n",
        "itself in it": honest + f"{other}  SHA256SUMS\n".encode(),
        "an upward path": honest + f"{other}  ../../etc/passwd\n".encode(),
        "an escaped name": b"\\" + honest,
        "nothing": b"",
    }
    for what, sums in lists.items():
        assert sums != honest, what
        # A list without the manifest's own line vouches for another manifest; with it, it is wrong about the files.
        names_it = f"\n{sha256_hex(data)}  bundle.json\n".encode() in b"\n" + sums
        with refused(FormatError if names_it else TrustError, "bundle.json"):
            verify(replace(recipe, sums=sums).archive())


def test_a_manifest_that_the_signed_list_does_not_name() -> None:
    # Even nonsense is not parsed: its hash is judged first.
    recipe = tiny_recipe()
    for data in (b"{" * 100_000, b"", m.encode(recipe.manifest) + b" "):
        with refused(TrustError, "bundle.json is not the one that was signed"):
            decode_manifest(replace(recipe.head, manifest=data))


def test_content_that_its_signed_hash_does_not_fit() -> None:
    # Whoever signed it: what is handed out is what the list says, or nothing.
    recipe = full_recipe()
    for path in (DOCUMENT, "images/0000-app0/manifest.json", LINK.link_to or ""):
        wrong = replace(recipe, contents={**recipe.contents, path: bytes(len(recipe.contents[path]))})
        with refused(TrustError, path):
            verify(wrong.archive())


def test_a_manifest_that_claims_petabytes() -> None:
    # A table of frames for all of it would take gigabytes: what cannot be in the file is refused before.
    recipe = tiny_recipe()
    for stored in ("raw", "zstd"):
        huge = [m.File(f"documents/{n}", 2**40, sha256_hex(b"x"), stored, None) for n in range(1000)]
        changed = recipe.change(files=(*recipe.manifest.files, *huge))
        listed = replace(recipe, json=m.encode(changed.manifest), sums=changed.head.sums)
        with refused(FormatError, ARCHIVE, "too short for what it claims"):
            verify(listed.archive())


def test_more_members_than_the_cap() -> None:
    one = m.File("documents/x", 1, sha256_hex(b"x"), "raw", None)
    with refused(FormatError, "files", "200001"):
        check_manifest(replace(tiny_recipe().manifest, files=(one,) * 200_001))
