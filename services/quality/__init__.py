"""The quality room: measures pictures, and says of each score what measured it."""
