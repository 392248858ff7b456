"""Local language models: which there are, where their weights come from, and their server."""
