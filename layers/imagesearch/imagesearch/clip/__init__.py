"""CLIP: the model artifact, the tokenizer, the preprocessing, the encoder on ONNX Runtime."""
