"""Conditional densities, k members stacked, and the transforms around them."""
