"""Rendered documents, kept as files so that a change of one shows as a diff."""
