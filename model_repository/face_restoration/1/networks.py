"""The networks that restore a face, each with the graphs that its build holds."""

import graph
import numpy as np


class GfpGan:
    """GFP-GAN: one pass."""

    def __init__(self, directory, threads):
        self.restorer = graph.load(directory, "restore", threads=threads)

    def restore(self, face, fidelity):
        """[1, 3, 512, 512] in [-1, 1] -> the same, restored.

        The network itself has no say in how close it stays to the face, so `fidelity` mixes the face back in: at 1 it
        comes back unchanged.
        """
        restored = self.restorer.run({"face": face}, ["restored"], shrink=True)["restored"]
        return restored + np.float32(fidelity) * (face - restored)


class CodeFormer:
    """CodeFormer: look, choose a code for each of 256 places, draw."""

    def __init__(self, directory, threads):
        self.encoder = graph.load(directory, "encode", threads=threads)
        self.decoder = graph.load(directory, "decode", threads=threads)

    def restore(self, face, fidelity):
        """[1, 3, 512, 512] in [-1, 1] -> the same, restored; `fidelity` is the paper's w."""
        seen = self.encoder.run({"face": face}, shrink=True)
        codes = seen.pop("scores").argmax(-1)
        drawn = {"codes": codes, "fidelity": np.array([fidelity], np.float32), **seen}
        return self.decoder.run(drawn, ["restored"], shrink=True)["restored"]


NETWORKS = {"restore": GfpGan, "encode": CodeFormer}


def load(directory, threads):
    """Open the network whose first graph lies in `directory`."""
    for component, network in NETWORKS.items():
        if (directory / f"{component}.onnx").is_file():
            return network(directory, threads)
    raise FileNotFoundError(f"{directory} holds none of {', '.join(NETWORKS)}; build the model again")
