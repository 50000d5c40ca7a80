"""Lightning's side of a run: callbacks, loggers, ranks, preemption, session."""
