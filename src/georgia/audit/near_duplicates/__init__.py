"""Search for near-duplicates in any rotation and reflection."""
