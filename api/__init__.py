"""The front door: the native API, other people's surfaces, and the documentation."""
