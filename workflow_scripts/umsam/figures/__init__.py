"""The figures, drawn from tables and volumes."""
