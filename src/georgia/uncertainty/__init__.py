"""From logits to a label with a probability, a prediction set, or unknown."""
