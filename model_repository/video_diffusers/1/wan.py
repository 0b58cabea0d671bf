"""Wan (arXiv 2503.20314): a video from words. Pure but for the graphs and the tokenizer that it is given."""

import html
import re

import numpy as np
from clip import Decoded, Stepped, to_pixels
from noise import torch_noise
from schedulers import scheduler

GRAPHS = ("text_encoder", "transformer", "vae_decoder_first", "vae_decoder")


def animate(clip, pipeline, graphs):
    """Yield Stepped after each step, then Decoded for every latent frame, and None where one may stop."""
    guided = clip.guidance_scale > 1
    told = embed(clip.prompt, pipeline, graphs)
    untold = embed(clip.negative_prompt, pipeline, graphs) if guided else None
    width, height = clip.size
    side, length = pipeline["pixels_per_latent"], (clip.frames - 1) // pipeline["frames_per_latent"] + 1
    x = torch_noise(clip.seed, (1, pipeline["latent_channels"], length, height // side, width // side))
    denoising = scheduler(pipeline["scheduler"], clip.steps)
    for i, time in enumerate(denoising.timesteps):
        feed = {"sample": denoising.scale_input(x, i), "timestep": np.array([time], np.float32)}

        def predict(states, feed=feed):
            return graphs["transformer"].run(feed | {"encoder_hidden_states": states})["velocity"]

        yield None
        velocity = predict(told)
        if guided:
            yield None
            plain = predict(untold)
            velocity = plain + np.float32(clip.guidance_scale) * (velocity - plain)
        x = denoising.step(velocity, i, x)
        yield Stepped(i + 1)
    index, cache = 0, {}
    for place in range(length):
        # What the decoder looks back on goes in and out, so that frames can go before all of them are decoded.
        graph = graphs["vae_decoder" if place else "vae_decoder_first"]
        given = graph.run({"latents": x[:, :, place : place + 1]} | cache)
        frames = to_pixels(given.pop("frames")[0].transpose(1, 0, 2, 3))
        cache = {name.removeprefix("next_"): value for name, value in given.items()}
        yield Decoded(index, frames)
        index += len(frames)


def embed(prompt, pipeline, graphs):
    """FP32 [1, tokens, D]: the encoder's states of the prompt, and zeros where there is no more of it."""
    encoding = graphs["tokenizer"].encode(clean(prompt))
    ids = [token for token, counts in zip(encoding.ids, encoding.attention_mask, strict=True) if counts]
    states = graphs["text_encoder"].run({"input_ids": np.array([ids], np.int64)})["states"]
    return np.pad(states, ((0, 0), (0, pipeline["tokens"] - len(ids)), (0, 0)))


def clean(prompt):
    """As WanPipeline cleans a prompt: entities read, white space single."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()
