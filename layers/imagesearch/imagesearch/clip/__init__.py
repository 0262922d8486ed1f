"""CLIP: the model artifact, the tokenizer, the preprocessing, the encoder on ONNX Runtime."""

import os

# ONNX Runtime reports to its maker, unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
