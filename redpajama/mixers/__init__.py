"""How much of each: token budgets, copies, the global order."""
