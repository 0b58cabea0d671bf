"""How any server of the mesh runs: its life, its errors, its deadlines, its identity, its telemetry and its stores.

A server is described by a `ServerSpec` and started by `serve`; everything around its handlers is the same for all of
them and lives here. Nothing here knows what any server decides.
"""
