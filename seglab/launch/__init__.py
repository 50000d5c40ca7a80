"""From one sweep file to many runs, on a laptop or a cluster."""
