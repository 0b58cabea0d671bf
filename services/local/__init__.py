"""The whole mesh on one machine: every server in one process on one event loop, Triton as its child.

It decides what starts when, who is where, and what ends first.
"""
