"""Side-by-side benchmarks: the two programs against skopeo, tar and zstd (``make bench``)."""
