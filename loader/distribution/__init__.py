"""A read-only registry (OCI distribution spec 1.1) over verified bundles: what is asked for and what is answered."""
