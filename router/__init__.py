"""The router decides which backend makes a picture, and runs the request there.

Filter, score, pick: `filters` says which backends may serve a request, `scorers` how well each of them would, `decision`
puts both over a frozen snapshot and says why. `fleet` keeps what is known of every backend, `probing` keeps that true,
`execution` runs a request on the chosen backend and goes on with the next one when it fails before it drew anything.
Backends and weights are data: `backends.yaml`, `weights.yaml`.
"""
