"""JSON Schemas of what the programs read and write, and what makes them from the types."""
