"""The house model: the project's own small text-to-image model and image-text matcher, and how they are made."""
