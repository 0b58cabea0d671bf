"""The usage room: will count work and money. In this version it serves health and reflection, and no rpc yet."""
