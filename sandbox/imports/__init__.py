"""Episodes from other people's formats: a file each, behind one registry."""
