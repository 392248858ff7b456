"""What keeps a job from being tracked now; the outbox tries again.

* Untracked            MLflow is away, refused something, or its artifact store did
"""


class Untracked(Exception):
    """MLflow did not take the job; the message says what it said."""
