"""Run directories -> tables, figures, a page. Reads run directories and nothing else."""
