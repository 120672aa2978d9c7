"""Held-out accuracy: pass@k, avg@k, maj@k with intervals."""
