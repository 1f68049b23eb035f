"""Who must have signed: the policy of the trust directory (format.md section 2, step 5).

Signers are counted by key, under the trust directory's names. Empty means no: no keys, no signer,
nothing that verifies, all refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from loader.bundle.digest import is_digest
from loader.bundle.errors import ConfigError, TrustError
from loader.bundle.keys import ALGORITHMS, PublicKey
from loader.bundle.rules import NAME


@dataclass(frozen=True)
class Rule:
    """``threshold`` distinct keys, and each key named in ``required``."""

    threshold: int = 1
    required: tuple[str, ...] = ()

    @property
    def needed(self) -> int:
        """The fewest names that meet it."""
        return max(self.threshold, len(self.required))


@dataclass(frozen=True)
class TrustPolicy:
    """Keys by name and the rules over them; without a policy file one signature of any key is enough.

    ``sha256`` is that of the policy file, for the record.
    """

    keys: tuple[PublicKey, ...]
    rule: Rule = Rule()
    algorithms: tuple[str, ...] = ALGORITHMS
    revoked: frozenset[str] = frozenset()
    enforce_not_after: bool = False
    names: Mapping[str, Rule] = field(default_factory=dict)
    sha256: Optional[str] = None

    def __post_init__(self) -> None:
        if not self.usable:
            raise TrustError(
                "no trusted key is left",
                why="there is none, or the policy revokes or disallows all of them" if self.keys else "there is none",
                hint="give the key that came to you by another way: --trust FILE|DIR",
            )
        faults = [
            fault
            for where, rule in (("", self.rule), *((f"names.{name}.", rule) for name, rule in self.names.items()))
            for fault in self._contradictions(where, rule)
        ]
        if faults:
            raise ConfigError(
                "the trust policy contradicts itself",
                faults=faults,
                hint="airgap-loader trust list shows the keys, their names and which of them count",
            )

    def _contradictions(self, where: str, rule: Rule) -> list[tuple[str, str]]:
        faults = []
        # One key under two names is still one signer; such a threshold is not met, and that is a matter of trust.
        count = len(self.usable)
        if not 1 <= rule.threshold <= count:
            faults.append(
                (f"{where}threshold", f"{rule.threshold}, but {count} key{'' if count == 1 else 's'} can count")
            )
        known = {key.name for key in self.usable}
        faults.extend(
            (f"{where}required", f"no key named {name!a} can count") for name in rule.required if name not in known
        )
        return faults

    @property
    def usable(self) -> tuple[PublicKey, ...]:
        """The keys that may count: not revoked, of an allowed algorithm."""
        return tuple(k for k in self.keys if k.fingerprint not in self.revoked and k.algorithm in self.algorithms)

    def judge(self, name: str, signers: Sequence[PublicKey]) -> Rule:
        """Return the rule that bundle ``name`` met, or raise ``TrustError`` saying who is missing."""
        rule = self.names.get(name, self.rule)
        fingerprints = {key.fingerprint for key in signers}
        missing = [
            wanted
            for wanted in rule.required
            if not any(k.name == wanted and k.fingerprint in fingerprints for k in self.usable)
        ]
        if missing:
            raise TrustError(
                "a required signer is missing",
                why=f"required: {', '.join(rule.required)}; signed: {', '.join(k.name for k in signers)}",
                hint="the signature of the missing one can be added: attach-signature, or --signature FILE",
            )
        if len(fingerprints) < rule.threshold:
            raise TrustError(
                "not enough signers",
                why=f"{len(fingerprints)} of {rule.threshold} needed: {', '.join(k.name for k in signers)}",
                hint="a further signature can be added: attach-signature, or --signature FILE",
            )
        return rule

    def judge_not_after(self, not_after: Optional[str], now: str) -> Optional[str]:
        """Return a warning when ``not_after`` lies before ``now`` (both ``YYYY-MM-DDTHH:MM:SSZ``), or raise."""
        if not_after is None or now <= not_after:
            return None
        text = f"the bundle was meant to be used until {not_after}; this host's clock says {now}"
        if self.enforce_not_after:
            raise TrustError("the bundle has expired", why=text, hint="get a newer one, or check the host's clock")
        return text


def parse_policy(document: Mapping[str, Any], keys: Sequence[PublicKey]) -> TrustPolicy:
    """Build the policy from a parsed ``policy.toml``; every fault is listed in one ``ConfigError``."""
    if not document:
        raise ConfigError(
            "the trust policy is empty",
            why="a file that decides nothing may be one that lost its content",
            hint="write at least threshold = N, or remove the file: any one trusted key is enough then",
        )
    reader = _Reader()
    rule = reader.rule("", document, extra={"algorithms", "revoked", "enforceNotAfter", "names"})
    algorithms = reader.strings("", document, "algorithms", ALGORITHMS)
    reader.faults.extend(("algorithms", f"unknown: {a!a}") for a in algorithms if a not in ALGORITHMS)
    if not algorithms:
        reader.faults.append(("algorithms", f"empty; allowed are {', '.join(ALGORITHMS)}"))
    revoked = reader.strings("", document, "revoked", ())
    reader.faults.extend(
        ("revoked", f"{r[:80]!a} is not sha256: and 64 hex digits") for r in revoked if not is_digest(r)
    )
    enforce = document.get("enforceNotAfter", False)
    if not isinstance(enforce, bool):
        reader.faults.append(("enforceNotAfter", "must be true or false"))
    names: dict[str, Rule] = {}
    tables = document.get("names", {})
    if not isinstance(tables, Mapping):
        reader.faults.append(("names", "must be a table"))
        tables = {}
    for name, table in tables.items():
        if not isinstance(table, Mapping) or NAME.fullmatch(name) is None:
            reader.faults.append((f"names.{name[:60]!a}", "must be a table under a bundle name"))
            continue
        if not table:
            reader.faults.append((f"names.{name}", "is empty: it changes nothing for this name"))
        names[name] = reader.rule(f"names.{name}.", table, fallback=rule)
    if reader.faults:
        raise ConfigError("the trust policy is not usable", faults=reader.faults)
    return TrustPolicy(tuple(keys), rule, tuple(algorithms), frozenset(revoked), bool(enforce), names)


class _Reader:
    def __init__(self) -> None:
        self.faults: list[tuple[str, str]] = []

    def rule(
        self,
        where: str,
        table: Mapping[str, Any],
        *,
        fallback: Rule = Rule(),
        extra: frozenset[str] | set[str] = frozenset(),
    ) -> Rule:
        unknown = sorted(set(table) - {"threshold", "required"} - extra)
        for key in unknown:
            import difflib  # where somebody mistyped, not at every start

            near = difflib.get_close_matches(key[:60], ["threshold", "required", *extra], 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.faults.append((f"{where}{key[:60]}", f"unknown key{meant}"))
        threshold = table.get("threshold", fallback.threshold)
        if isinstance(threshold, bool) or not isinstance(threshold, int):
            self.faults.append((f"{where}threshold", "must be a whole number"))
            threshold = 1
        required = tuple(self.strings(where, table, "required", fallback.required))
        twice = sorted({name for name in required if required.count(name) > 1})
        self.faults.extend((f"{where}required", f"{name[:60]!a} is named twice") for name in twice)
        return Rule(threshold, required)

    def strings(self, where: str, table: Mapping[str, Any], key: str, default: Sequence[str]) -> Sequence[str]:
        value = table.get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.faults.append((f"{where}{key}", "must be a list of strings"))
            return default
        return value
