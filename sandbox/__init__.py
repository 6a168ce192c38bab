"""World-model simulation sandbox."""
