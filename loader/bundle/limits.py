"""Every number that bounds what a hostile bundle can make us read, allocate or count."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

MAX_MEMBERS = 200_000  # format.md section 1; also bounds the seek table that is read before its frames
MAX_HEAD_FILE = 64 * MIB  # bundle.json and SHA256SUMS, each
MAX_UNSIGNED_SET = MIB  # set.json that nobody vouched for; decoded it takes some 30 times as much
MAX_SIGNATURE = 16 * KIB  # the largest of today's (RSA-16384) is 2 KiB; leaves room for ML-DSA
MAX_SIGNATURES = 16  # inside the archive; further ones stand beside it
MAX_MANIFEST = 4 * MIB  # what registries accept at most
MAX_DOCUMENT = 4 * MIB  # more than any object an API server stores
MAX_MEMBER = 1 << 40  # 1 TiB: no registry takes a larger blob, and offsets stay far below 2**63
MAX_KEY_FILE = 64 * KIB
MAX_KEYS = 256
MAX_POLICY = 256 * KIB

FRAME = 4 * MIB  # content of one zstd frame at most
BLOCK = 128 * KIB  # content of one raw block: the largest that RFC 8878 section 3.1.1.2 allows
BIG_MEMBER = 1 * MIB  # from this size on a member fills frames of its own
MAX_CONFIG = 4 * MIB  # configs up to this size stand with the small files
