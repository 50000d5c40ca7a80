"""The commands beside ``fit``, ``validate``, ``test`` and ``predict``; each module reads its own flags."""
