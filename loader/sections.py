"""What a bundle holds, as the sections that the pages of both programs share; made from :mod:`loader.verdict`'s values.

Every section is a pair of heading and HTML, for :meth:`loader.page.Page.section`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loader.page import COLOURS, Part, legend, listed, paragraph, strip, table
from loader.units import counted, human

Found = Mapping[str, Any]
Section = tuple[str, str]
# Shared blobs that get a letter and a colour of their own; the rest of what is shared has one colour.
_LETTERS = "ABCDEFGHIJKLMNOPQRST"
_OWN = "c7"
# Pieces of a disc's picture: enough to see a scratch, few enough for a page.
_CELLS = 120


def identity_rows(found: Found) -> list[tuple[str, str]]:
    """The rows of a page that say which bundle this is."""
    rows = [
        ("bundle id", found["id"]),
        ("sequence", str(found["sequence"])),
        ("created", found["created"]),
        ("for registry", found["registry"]),
        ("built by", found["builder"]),
    ]
    if found["notAfter"]:
        rows.append(("not after", found["notAfter"]))
    if not found["complete"]:
        rows.append(("delta of", f"{found['base']}: needs {counted(len(found['requires']), 'blob')} of it"))
    return rows


def contents(found: Found) -> Iterator[Section]:
    """All that is inside: images, what they share, attachments, mirrors and documents."""
    yield "Images", images_table(found)
    left_out = [
        [named(image), item["digest"], item["reason"]] for image in found["images"] for item in image["omitted"]
    ]
    if left_out:
        yield "Left out", table(["image", "digest", "why"], left_out)
    yield "Where layers are shared", sharing(found)
    yield (
        "Attachments",
        table(
            ["kind", "of", "digest", "goes to"],
            [[item["kind"], item["subject"], item["digest"], _place(item)] for item in found["attachments"]],
        ),
    )
    yield (
        "Mirrors",
        table(["source", "mirror", "policy"], [[m["source"], m["mirror"], m["policy"]] for m in found["mirrors"]]),
    )
    yield (
        "Documents and their effect",
        table(
            ["document", "phase", "effect"],
            [[item["path"], item["phase"], effect(item)] for item in found["documents"]],
        ),
    )


def images_table(found: Found) -> str:
    """The images with digest, platforms and sizes."""
    return table(
        ["image", "digest", "platforms", "size", "its own"],
        [
            [named(image), image["digest"], ", ".join(image["platforms"]), human(image["size"]), human(image["own"])]
            for image in found["images"]
        ],
    )


def sharing(found: Found) -> str:
    """A bar for each image: what it holds alone, and the blobs it has in common with others."""
    shared = found["shared"]
    if not shared:
        return paragraph("No blob is in more than one image.")
    letters = {blob["digest"]: (_LETTERS[n], COLOURS[n % 7]) for n, blob in enumerate(shared[: len(_LETTERS)])}
    folders = {image["path"]: image for image in reversed(found["images"])}
    largest = max([image["size"] for image in folders.values()] or [1]) or 1
    bars = []
    for path, image in sorted(folders.items()):
        parts = [Part(image["own"] / largest, _OWN)]
        for blob in shared:
            if path in blob["images"]:
                letter, colour = letters.get(blob["digest"], ("", "c6"))
                parts.append(Part(blob["size"] / largest, colour, letter))
        bars.append(strip(f"{named(image)}: {human(image['size'])}, {human(image['own'])} its own", parts))
    saved = sum(blob["size"] * (len(blob["images"]) - 1) for blob in shared)
    rows = [
        [letters[blob["digest"]][0], blob["digest"], human(blob["size"]), ", ".join(blob["images"])]
        for blob in shared[: len(_LETTERS)]
    ]
    more = len(shared) - len(rows)
    return "".join(
        [
            paragraph(f"{counted(len(shared), 'blob')} in more than one image, packed once: {human(saved)} saved."),
            legend([(_OWN, "its own"), ("c0", "shared (letter: see the table)")]),
            *bars,
            table(["", "shared blob", "size", "in"], rows),
            paragraph(f"and {more} more") if more > 0 else "",
        ]
    )


def discs(media: Found) -> str:
    """The map of a media set: every disc as a strip of its chunks."""
    strips = [strip(f"{disc['name']}: {_state(disc)}", _cells(disc), edges=False) for disc in media["discs"]]
    meanings = [
        ("ok", "every chunk matches its hash"),
        ("bad", "unreadable or wrong"),
        ("healed", "made again from parity"),
        ("gone", "not here"),
    ]
    return legend(meanings) + "".join(strips) + (listed(media["notes"]) if media["notes"] else "")


def _state(disc: Found) -> str:
    chunks = counted(disc["chunks"], "chunk")
    if not disc["here"]:
        return f"not here, {disc['fromParity']} of {chunks} made again from parity"
    if disc["badChunks"]:
        healed = f", {disc['fromParity']} made again from parity" if disc["fromParity"] else ""
        return f"{len(disc['badChunks'])} of {chunks} unreadable or wrong{healed}"
    return f"{chunks}, all well"


def _cells(disc: Found) -> Sequence[Part]:
    count = disc["chunks"]
    cells = min(count, _CELLS)
    bad = set(disc["badChunks"])
    parts = []
    for cell in range(cells):
        chunks = range(cell * count // cells, (cell + 1) * count // cells)
        if not disc["here"]:
            colour = "healed" if disc["fromParity"] else "gone"
        elif any(chunk in bad for chunk in chunks):
            colour = "bad"
        else:
            colour = "ok"
        parts.append(Part(1 / cells, colour))
    return parts


def effect(item: Found) -> str:
    """What the loader does with a document, in words."""
    target = item["target"]
    if target is None or item["action"] == "file":
        return "a file for people and other nodes: nothing is applied"
    where = f" in {target['namespace']}" if target["namespace"] else ""
    verb = {"apply": "creates or updates", "merge-patch": "patches", "strategic-patch": "patches"}[item["action"]]
    words = f"{verb} {target['kind']}/{target['name']}{where}"
    conditions = [
        *([f"the API serves {item['when']['api']}"] if item["when"]["api"] else []),
        *([f"Rook is {item['when']['rook']}"] if item["when"]["rook"] else []),
    ]
    if conditions:
        words += f", if {' and '.join(conditions)} (else: {item['otherwise']})"
    return f"{words}; waits for: {item['wait']}" if item["wait"] else words


def named(image: Found) -> str:
    """``source:tag``, or the source alone."""
    return f"{image['source']}:{image['tag']}" if image["tag"] else str(image["source"])


def _place(item: Found) -> str:
    return f"{item['repository']}:{item['tag']}" if item["tag"] else str(item["repository"])
