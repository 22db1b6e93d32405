"""What is behind `mlsbi.Study`: its file, runs on disk, steps, and what its folder remembers."""
