"""What is kept: run folders, their recipes, records, bills and evidence. Knows no simulator."""
