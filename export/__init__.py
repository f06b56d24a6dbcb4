"""From a trained checkpoint to ONNX, and sampling from the ONNX file without PyTorch."""
