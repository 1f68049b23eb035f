"""Does anybody act on what is stored: an object without a status may have a slow controller, or none at all.

Every cluster that runs pods has a controller manager, and that gives every namespace its ServiceAccount ``default``.
Where the namespace ``default`` has none, nobody has ever made a pod here, and so no operator runs either.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from loader.bundle.errors import ClusterError
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, objects_in
from loader.cluster.rookauto import OPERATORS

_TRACE = "/api/v1/namespaces/default/serviceaccounts/default"
# A controller that runs writes its first status within a second or two. What this load has made gets longer, and so
# does a CephCluster without an operator: it may be on its way.
_GRACE, _SHORT = 10.0, 2.5


class Trace:
    """Whether anything on a cluster ever made pods; asked once, however many waits want to know.

    ``waited_out``: one wait has given it its time for nothing, which is enough for all of them.
    """

    def __init__(self) -> None:
        self._anybody: bool | None = None
        self.waited_out = False

    def is_nobodys(self, kubectl: Kubectl) -> bool:
        """Tell whether no controller manager has ever run here; ``ClusterError`` where that is not to be seen."""
        if self._anybody is None:
            self._anybody = kubectl.get_raw(_TRACE) is not None
        return not self._anybody


class _Told(enum.Enum):
    SOMEBODY = 1
    NOBODY = 2
    NO_OPERATOR = 3


class Watchers:
    """Whether the objects of one wait have a controller; asks the cluster once, and only where none ever wrote.

    ``made``: this load has just made the object. ``of_rook``: the controller is Rook's operator.
    """

    def __init__(self, trace: Trace | None = None, *, made: bool = False, of_rook: bool = False) -> None:
        self._trace = trace or Trace()
        self._made = made
        self._of_rook = of_rook
        self._told: _Told | None = None

    def is_nobody(self, kubectl: Kubectl, items: Iterable[JsonObject], waited: float) -> bool:
        """Tell whether none of ``items`` has a controller, ``waited`` seconds after the first look."""
        if any(item.get("status") for item in items):
            return False
        if self._told is None:
            self._told = self._asked(kubectl)
        grace = _SHORT if self._told is _Told.NOBODY and not self._made else _GRACE
        late = waited >= grace or self._trace.waited_out
        nobody = late and self._told is not _Told.SOMEBODY
        self._trace.waited_out |= nobody
        return nobody

    def _asked(self, kubectl: Kubectl) -> _Told:
        try:
            if self._trace.is_nobodys(kubectl):
                return _Told.NOBODY
            if self._of_rook and not objects_in(kubectl.get_raw(OPERATORS), "items"):
                return _Told.NO_OPERATOR
        except ClusterError as error:
            if error.retryable:
                raise
            # Where the cluster does not tell, a slow controller and none look alike: done must never be a guess.
        return _Told.SOMEBODY
