"""`vmesh bench`: the mesh beside direct Triton, in one run, on one machine.

Three paths draw the same picture with the same model, prompt, seed and steps, and take turns in short bursts, so that
whatever else the machine does falls on all of them alike:

- `triton`: the model's own stream on Triton, until its last response, which carries the picture;
- `router`: RouterService.Execute, until the last denoising step (the picture is encoded and stored after that);
- `gateway`: GenerationService.Generate at the door, through every server, until the last denoising step.

Callers form a closed loop: each one starts its next request when the one before has ended, the whole of it.
"""
