"""Diffusers directories as served models: read, merged with LoRA, exported to ONNX and checked against PyTorch.

Runs at build alone. torch, diffusers and transformers are imported inside the functions that need them, so that what
serves never loads them.
"""
