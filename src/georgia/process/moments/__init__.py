"""Moments of a batch that its frames tell: first crystals, clear and cloud point, growth, first impurity."""
