"""Carries a generation from prompt to stored asset, and decides in which order, how many at once and how each one ends.

The life of a generation is a plain function (`pipeline`) over a small interface (`steps`); `engine` owns what runs,
`store` remembers what happened, `service` speaks the wire.
"""
