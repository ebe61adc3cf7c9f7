"""Run exported models without PyTorch: numpy, and ONNX Runtime or OpenVINO."""
