"""Settings that hold for every test."""

from __future__ import annotations

import hypothesis

# A busy machine is not a slow program: no example has a deadline.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")
