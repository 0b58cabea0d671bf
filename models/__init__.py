"""Models this project trains itself; nothing that serves imports this."""
