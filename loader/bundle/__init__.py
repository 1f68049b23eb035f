"""The trust core: no network, no subprocess, and nothing of ours outside itself."""
