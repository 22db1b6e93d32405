"""Plan before you spend: pilots, what levels need, allocations, adaptive runs."""
