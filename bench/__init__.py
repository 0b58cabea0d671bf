"""Measurements too long for tests; run each as a module, `python -m bench.<name>`."""
