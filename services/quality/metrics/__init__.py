"""The measurements: pure functions of pixels, each with its formula, its source and the curve to [0, 1]."""
