# syntax=docker/dockerfile:1
# Triton with what the Python models import: `docker build -f deploy/docker/triton.Dockerfile -t visual-mesh-triton:0.1.0 deploy/docker`.
# 24.12 (server 2.53, Python 3.12) is the release nearest to the 2.51 of the wheel that runs on one machine whose Python
# is new enough for the pinned onnxruntime. ONNX Runtime here is the CPU build; a GPU component brings its own.
FROM nvcr.io/nvidia/tritonserver:24.12-py3
# The versions are those of pyproject.toml; a test compares them.
RUN pip install --no-cache-dir --disable-pip-version-check --break-system-packages \
    numpy==1.26.4 \
    onnxruntime==1.31.1 \
    opencv-python-headless==4.11.0.86 \
    pillow==13.0.0 \
    tokenizers==0.23.3
# triton-server, the image's own user
USER 1000:1000
