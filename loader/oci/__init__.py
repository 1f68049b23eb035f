"""Registries and image layouts; knows nothing of a bundle's trust."""
