"""The model plane: which models exist, where their weights come from, and the repository Triton serves."""
