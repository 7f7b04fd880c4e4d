"""Generalization bounds for language models: the library behind the book."""
