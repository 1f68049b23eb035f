"""The documents of a bundle, rendered from its config and digests; pure."""
