"""What a folder of somebody's own images and masks probably is: ``seglab data init``."""
