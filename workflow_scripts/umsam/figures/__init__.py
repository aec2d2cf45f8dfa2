"""The paper's figures, drawn from tables and volumes."""
