"""The subject: what an evaluation is, and how it is kept."""
