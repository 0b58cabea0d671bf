"""What served models run on: standalone modules that a build copies beside a model's `model.py`.

Each is numpy, ONNX Runtime and the standard library, and imports neither its neighbours nor the rest of the project.
"""
