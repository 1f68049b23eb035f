"""airgap-loader: verify a bundle, push its images, apply its documents.

The errors of both programs, each with its exit code::

    AirgapError                 1   message, why, hint (what to do next), retryable
    ├─ ConfigError              2   every (place, problem) found; usage errors too
    ├─ BundleError                  the bundle is wrong: never retried, never downgraded
    │  ├─ TrustError            3   signature, unknown key, threshold, replay, digest mismatch
    │  ├─ FormatError           4   not our format, cap exceeded, unsafe name, truncated
    │  └─ MissingVolume         5   which disc, and whether parity can replace it
    ├─ StorageError             1   local disk and permissions: path and errno
    ├─ RegistryError            6   method, URL without secrets, status, the registry's own words
    ├─ ClusterError             7   argv, exit status, last lines of stderr
    │  └─ Pending               8   applied, a wait is not finished: the same command goes on
    └─ Interrupted            130   Ctrl-C, or no at a prompt
"""

__version__ = "0.1.0"
