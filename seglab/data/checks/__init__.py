"""Whether a data set is what its class takes it for, before training."""
