"""The servers of the mesh and the runtime that they share."""
