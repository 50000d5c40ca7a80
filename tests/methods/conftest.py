from host_sync import no_host_sync

__all__ = ["no_host_sync"]
