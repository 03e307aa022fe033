"""The built-in studies: one module each, which says `STUDY`."""
