"""Other people's formats: a file each, behind one registry."""
