"""The hands: Celery workers that run shards, and the scheduler that keeps the clock."""
