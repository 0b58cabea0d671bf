"""The router decides which backend makes a picture or a video, and runs the request there.

Filter, score, pick: `filters` says which backends may serve a request, `scorers` how well each of them would, `decision`
puts both over a frozen snapshot and says why; `learning` is what runs and verdicts have taught, and `exploration` tries
what little is known of. `fleet` keeps what is known of every backend, `probing` keeps that true, `breaker` says how far
each is trusted. `execution` runs a request on the chosen backend and goes on with another one when it fails before it
made anything. `ledger` holds every call that costs money, `performance` every run, `experiments` compares models.
`composition` puts all of it together. Backends, providers, weights, tenants and experiments are data: the YAML files here.
"""
