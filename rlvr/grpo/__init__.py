"""The algorithm: advantages, losses, presets, which groups train, the loop."""
