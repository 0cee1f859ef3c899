"""From raw frames to labels: what to name next, the names that people give, all of them kept on disk."""
