"""What a command does, live: one panel on a terminal, lines with the time of day elsewhere."""
