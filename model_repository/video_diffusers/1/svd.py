"""Stable Video Diffusion (arXiv 2311.15127): a picture set in motion. Pure but for the graphs it is given."""

import numpy as np
from clip import Decoded, Stepped, to_pixels
from noise import Generator
from picture import for_clip, for_vae
from schedulers import scheduler

GRAPHS = ("image_encoder", "vae_encoder", "unet", "vae_decoder")


def animate(clip, pipeline, graphs):
    """Yield Stepped after each step, then Decoded for every `decode_chunk_size` frames, and None where one may stop.

    Draws its noise in the order in which StableVideoDiffusionPipeline does: the picture's, then the video's.
    """
    noise = Generator(clip.seed)
    normal = pipeline["image"]
    pixels = for_clip(clip.image, normal["side"], normal["mean"], normal["deviation"])
    embedding = graphs["image_encoder"].run({"pixels": pixels})["image_embeds"]
    yield None
    picture = for_vae(clip.image, clip.size)
    picture = picture + np.float32(clip.noise_aug_strength) * noise.randn(picture.shape)
    still = graphs["vae_encoder"].run({"image": picture})["latents"]
    still = np.repeat(still[:, None], clip.frames, axis=1)
    # The network was trained on frames a second less one.
    ids = np.array([[clip.fps - 1, clip.motion_bucket_id, clip.noise_aug_strength]], np.float32)
    denoising = scheduler(pipeline["scheduler"], clip.steps)
    x = noise.randn(still.shape) * np.float32(denoising.init_noise_sigma)
    scale = np.linspace(clip.min_guidance_scale, clip.guidance_scale, clip.frames, dtype=np.float32)
    scale = scale.reshape(1, -1, 1, 1, 1)
    for i, time in enumerate(denoising.timesteps):
        scaled, t = denoising.scale_input(x, i), np.array([time], np.float32)

        def predict(still, embedding, scaled=scaled, t=t):
            sample = np.concatenate([scaled, still], axis=2)
            feed = {"sample": sample, "timestep": t, "image_embeds": embedding, "time_ids": ids}
            return graphs["unet"].run(feed)["output"]

        yield None
        output = predict(still, embedding)
        if clip.guidance_scale > 1:
            yield None
            plain = predict(np.zeros_like(still), np.zeros_like(embedding))
            output = plain + scale * (output - plain)
        x = denoising.step(output, i, x)
        yield Stepped(i + 1)
    for index in range(0, clip.frames, clip.decode_chunk_size):
        latents = x[0, index : index + clip.decode_chunk_size]
        yield Decoded(index, to_pixels(graphs["vae_decoder"].run({"latents": latents})["frames"]))
