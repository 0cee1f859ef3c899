"""How long a test waits at most for what comes about in a moment on a free machine."""

from __future__ import annotations

# One ten times slower passes. It only takes so long where something does not come about.
PATIENCE_S = 240.0
PATIENCE_MS = 1000 * PATIENCE_S
