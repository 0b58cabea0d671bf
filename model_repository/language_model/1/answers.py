"""Answers to a talk: written token by token, or chosen among those that were offered. Knows nothing of Triton."""

import numpy as np


def write(network, talk, most_tokens, temperature, seed, stop, check):
    """Go on with a talk -> (text, whether it ended by itself or at a stop text).

    The likeliest token each time at temperature 0, else one drawn by its likelihood, from a generator of `seed`. `check`
    is called before each token and may raise to stop.
    """
    generator, written = np.random.default_rng(seed), []
    logits, read = network.hear(talk)
    for _ in range(most_tokens):
        check()
        token = pick(logits[-1], temperature, generator)
        if token in network.ends:
            return network.decode(written), True
        written.append(token)
        text = network.decode(written)
        found = [place for place in map(text.find, stop) if place >= 0]
        if found:
            return text[: min(found)], True
        if len(written) < most_tokens:
            logits, read = network.read([token], read)
    return network.decode(written), False


def pick(logits, temperature, generator):
    """One token of logits [vocabulary]."""
    if temperature == 0:
        return int(logits.argmax())
    return int(generator.choice(len(logits), p=np.exp(log_shares(logits[None] / temperature)[0])))


def score(network, talk, choices, check):
    """Mean log-likelihood per token of each choice as the whole answer to a talk, FP32 [choices].

    The end of the answer counts as a token, so that a choice that begins another does not win for being short.
    """
    before, read = network.hear(talk)
    scores = []
    for choice in choices:
        check()
        tokens = [*network.encode(choice), network.end]
        after, _ = network.read(tokens[:-1], read, len(tokens) - 1)
        shares = log_shares(np.concatenate([before, after]))
        scores.append(shares[np.arange(len(tokens)), tokens].mean())
    return np.array(scores, np.float32)


def log_shares(logits):
    """Logits [rows, vocabulary] -> logarithms of likelihoods that add up to 1 in each row, FP64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
