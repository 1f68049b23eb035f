"""airgap-bundler: resolve, render, pack and sign on the connected side."""
