"""The only door of the mesh, and decides who asks, how much of the mesh one tenant may hold, and what may be asked at all.

What is let through is handed on as it is: requests are checked against their rules and not changed, responses are
not even parsed, and cancelling either side cancels the other.
"""
