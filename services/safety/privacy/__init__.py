"""Personal data in texts: found by recognisers that are data, checked beyond their patterns, replaced by pseudonyms.

`reading` folds what a text is written in, `recognition` finds, `validation` checks, `overlaps` decides between finds,
`pseudonyms` replaces. All of them are pure; `rpcs` speaks the wire.
"""
