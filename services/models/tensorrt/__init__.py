"""Engines: what a GPU of one kind runs instead of the exported graph, and the proof that both compute the same."""
