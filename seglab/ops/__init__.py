"""The pieces that papers share: pure tensor functions and tiny modules, without Lightning."""
