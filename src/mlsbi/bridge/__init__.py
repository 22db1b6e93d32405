"""A bridge between levels: p(x_l | x_(l-1), theta) from coupled pairs, and draws pushed up it."""
