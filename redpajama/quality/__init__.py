"""May this document stay: signals measured on its text, and rules over them."""
