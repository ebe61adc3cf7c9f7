"""Export models to other runtimes; `hummingbird_core.runtime` runs the results without PyTorch."""
