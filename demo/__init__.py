"""A small bundle from registry to registry, on one machine, with nothing but this project and openssl."""
