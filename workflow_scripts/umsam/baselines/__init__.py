"""The comparison methods of Table 1."""
