"""Methods that bring the target's predictions to look like the source's: directly, or against a discriminator."""
