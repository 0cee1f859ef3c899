"""What is wrong with a set of labelled pictures, before a model is trained on it."""
