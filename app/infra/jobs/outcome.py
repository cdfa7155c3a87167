"""What can come of looking after jobs; without the library, which not every process needs."""


class JobNotRetryable(Exception):
    """There is no such job, or it is neither failed nor stalled."""
