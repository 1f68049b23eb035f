"""The texts of a media set: how to check a disc, how to go on by hand, and the slip of paper beside the discs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from bundler.iso import DiscImage
from loader.bundle.keys import HASHES, PublicKey
from loader.bundle.manifest import BundleManifest
from loader.bundle.mediaset import LOADER, MediaSet, label
from loader.cluster.oclines import oc_lines
from loader.oci.model import tag_in_airgap

Signatures = Sequence[tuple[str, bytes]]
_LONGEST_P256 = 72  # bytes of a signature in DER
_LONGEST_P384 = 104


def readme_verify(stem: str, set_id: str, bundle_id: str, discs: Sequence[str], key: Optional[PublicKey]) -> bytes:
    """``README-VERIFY.txt``: lines for openssl and coreutils, busybox's too, indented; the same text on every disc."""
    name, digest = _key_words(key)
    text = f"""\
CHECK THIS DISC WITH STOCK TOOLS

Set      {stem}
Set id   {set_id}
Bundle   {bundle_id}
Discs    {" ".join(discs)}  (v: data, p: parity; each can be checked alone, in any order)

You need openssl, sha256sum, find, grep, sort and diff, of any Linux or of busybox. Nothing is written to
the disc. Change to the disc's top folder, then type the lines that are indented by four spaces.

{_which_key(key)}

    KEY=${{KEY:-/trusted/{name}.pub}}
    openssl pkey -pubin -in "$KEY" -outform DER | openssl dgst -sha256

2. The signature of the list. One line must say "Verified OK". (-sha384 goes with a P-384 key, -sha256 with others.
   What openssl says itself is not shown: names of files stand in it, and those are the disc's.)

    for s in SHA256SUMS.*.sig; do openssl dgst -{digest} -verify "$KEY" -signature "$s" SHA256SUMS > /dev/null 2>&1 \\
      && echo "Verified OK" || echo "not by this key, or it can't be read"; done

3. The files that stand on every disc, then this disc's own. Every line must end in "OK".

    sha256sum -c SHA256SUMS
    for l in volumes/*.sha256; do if [ -e "$(head -n 1 "$l" | cut -c67-)" ]; then DISC=$l; fi; done
    sha256sum -c "$DISC"

4. Nothing unlisted, no links, no devices, no odd names. The first lines must print "nothing unlisted", the last two
   nothing.

    cat SHA256SUMS "$DISC" | cut -c67- | LC_ALL=C sort > /tmp/listed.$$
    find . -type f | cut -c3- | grep -vE '^SHA256SUMS(\\.[a-z0-9-]{{1,32}}\\.sig)?$' | LC_ALL=C sort \\
      | diff /tmp/listed.$$ - && echo "nothing unlisted"
    find . ! -type f ! -type d
    find . | LC_ALL=C grep -vE '^\\.(/[A-Za-z0-9._+-]+)*$'

5. Who signed the bundle itself, with the keys that your policy asks for: repeat with each (KEY=..., -sha384 as above).

    for s in bundle/SHA256SUMS.*.sig; do openssl dgst -{digest} -verify "$KEY" -signature "$s" bundle/SHA256SUMS \\
      > /dev/null 2>&1 && echo "Verified OK" || echo "not by this key, or it can't be read"; done

The same and more, for the whole set at once:  airgap-loader verify DISC... --trust KEY
"""
    return text.encode("ascii")


def _which_key(key: Optional[PublicKey]) -> str:
    """Step 1 in words; a set that is signed later can't show a fingerprint, for this text is in what is signed."""
    if key is None:
        return """\
1. Your copy of the signer's public key, which came to you by another way than this disc. The set was signed
   after this text was written: the paper slip (TRANSFER-RECORD.txt) has the signer's name and the key's
   fingerprint, on the line "signed by". What the second line prints must be that fingerprint."""
    return f"""\
1. Your copy of the public key. It came to you by another way than this disc: what lies in keys/ is here
   to be looked at and proves nothing. The fingerprint must be the one on the paper slip:
   {key.fingerprint}"""


def _key_words(key: Optional[PublicKey]) -> tuple[str, str]:
    """The name of the key's file, and the digest that ``openssl dgst`` must be given."""
    if key is None:
        return "builder", "sha256"
    return key.name, HASHES[key.algorithm]


def readme_by_hand(
    stem: str, archive_sha256: str, manifest: BundleManifest, *, signatures: Signatures, parity: bool
) -> bytes:
    """``README-BY-HAND.txt``: what the loader does, in lines of zstd, tar, skopeo and oc."""
    pushes = "\n".join(
        f"    skopeo copy --all dir:{image.path} "
        f"docker://{manifest.registry}/{image.repository}:{tag_in_airgap(image.tag, image.digest)}"
        for image in manifest.images
    )
    applies = "\n".join(f"    {line}" for line in oc_lines(manifest.documents)) or "    (no documents)"
    lost = (
        "A lost or damaged disc: p01 is the plain XOR of the data discs, byte by byte, the shorter ones filled up\n"
        "with zeros; further parity discs are Reed-Solomon over GF(2^8). `airgap-loader join` does it for you."
        if parity
        else "This set has no parity: every data disc is needed."
    )
    text = f"""\
WITHOUT THE LOADER

1. Copy the segments of every data disc into one folder that has room for them, from each disc:

    cp /media/DISC/{stem}.v* .

   What is inside, and the archive itself:

    cat {stem}.v??.s??? | zstd -dc | tar -t
    cat {stem}.v??.s??? > {stem}.tar.zst
    echo "{archive_sha256}  {stem}.tar.zst" | sha256sum -c

   {lost}

2. Unpack it into an empty folder and check every file. Signatures are made over SHA256SUMS; your copies of the
   signers' keys came to you by another way.

    mkdir unpacked && cd unpacked
    zstd -dc ../{stem}.tar.zst | tar -x
    sha256sum -c SHA256SUMS
{_verifying(signatures)}

   Signatures that were added later lie in bundle/ on every disc.
{_filling(manifest)}
3. Push the images.

{pushes or "    (no images)"}

4. Apply the documents, in this order.

{applies}
"""
    return text.encode("ascii", "backslashreplace")


def _verifying(signatures: Signatures) -> str:
    """A line for each signature in the archive."""
    lines = [
        f"    openssl dgst -{_digest(data)} -verify /trusted/{label}.pub -signature SHA256SUMS.{label}.sig SHA256SUMS"
        for label, data in signatures
    ]
    return "\n".join(lines) or "   (It was packed without a signature.)"


def _digest(signature: bytes) -> str:
    """The digest that ``openssl dgst`` needs: by its length a signature of P-384 is no other key's."""
    return "sha384" if _LONGEST_P256 < len(signature) <= _LONGEST_P384 else "sha256"


def _filling(manifest: BundleManifest) -> str:
    """How the layouts of a delta become whole, which skopeo needs; nothing for a complete bundle."""
    if manifest.complete:
        return ""
    return f"""
   This bundle is a delta: what bundle {manifest.base} brought
   is not in it. Check and unpack that one as well, and those that it builds on, into the folder ../base on
   the same file system. Then fill up the images:

    for f in ../base/images/*/[0-9a-f]*; do for d in images/*; do [ -e "$d/${{f##*/}}" ] || ln "$f" "$d"; done; done
"""


def transfer_record(
    media: MediaSet,
    manifest: BundleManifest,
    sums_sha256: str,
    signers: Mapping[str, str],
    images: Mapping[str, DiscImage],
) -> bytes:
    """``TRANSFER-RECORD.txt``: what goes on paper. ``signers`` are label -> fingerprint, ``images`` by disc."""
    files = {file.path: file.sha256 for file in media.files}
    lines = [
        "TRANSFER RECORD  (stays with the sender and the receiver, not on the discs)",
        "",
        f"bundle            {media.bundle.name} {media.bundle.version}, sequence {manifest.sequence}",
        f"created           {manifest.created}",
        f"bundle id         {media.bundle.id}",
        f"set id            {media.set_id}",
        f"SHA256SUMS        {sums_sha256}",
        f"loader            {files.get(LOADER, 'not on the discs')}",
        *(f"signed by         {name}  {fingerprint}" for name, fingerprint in sorted(signers.items())),
        *([] if signers else ["signed by         nobody yet"]),
        "",
        f"{len(media.volumes)} discs: {media.k} data, {media.m} parity",
        "",
    ]
    for volume in media.volumes:
        lines.append(f"{volume.name}  label {label(media.bundle, volume.name)}  {volume.size} bytes of segments")
        image = images.get(volume.name)
        if image is not None:
            lines.append(f"     {image.name}  {image.size} bytes, {image.size // 2048} sectors, SHA-256 {image.sha256}")
    blanks = ("serial numbers", "sent by, date", "received by, date")
    lines += ["", *(f"{blank:<18}______________________________" for blank in blanks), ""]
    return "\n".join(lines).encode("ascii")
