"""What can be asked of a mesh, by subject; `VisualClient` has all of it."""
